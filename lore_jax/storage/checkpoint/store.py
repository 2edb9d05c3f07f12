"""Checkpoints: a pytree of arrays and a manifest a step, through Orbax; every flipped bit is found.

    FOLDER/STEP/arrays     the leaves by name, without those of size zero, which Orbax refuses
    FOLDER/STEP/manifest   JSON: format version, shape, dtype and sha256 of every leaf, `extra`, and its own sha256
    FOLDER/STEP/files.json size and sha256 of every file of the step, written last

Orbax keeps no checksum of what it stores and calls a step with a flipped bit its latest; here a
step counts only if its files agree with the list, its manifest with its own digest and every leaf
with the manifest, and reading walks back to the newest step that does. The leaves' digests are of
what was to be saved. The list is there so that damaged files are never given to Orbax, whose
readers answer with tracebacks from several threads; a process killed just before it wrote the list
leaves a step that is checked without it. The manifest alone says what to read, so a checkpoint is
read on any number of devices. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from lore_jax.storage.checkpoint.manifest import (
    FORMAT_VERSION,
    differences,
    digest_of,
    leaves_by_name,
    make_manifest,
)
from lore_jax.storage.files import canonical_json, check_listed_files, list_files, locked

_TEMPORARY = ".orbax-checkpoint-tmp"  # what Orbax appends to the name of a step until it is whole
_SHOWN = 5  # differences named in a message


class Restored(NamedTuple):
    """What a checkpoint held.

    Attributes:
        step: its step.
        state: the pytree; without a target, a dict of NumPy arrays by name, names joined by `/`.
        extra: what was saved beside it.
    """

    step: int
    state: Any
    extra: dict[str, Any]


class AllDamagedError(ValueError):
    """There are checkpoints, and not one of them is whole."""


class CheckpointStore:
    """The checkpoints of one folder; a context manager, because one writer at a time holds the
    folder's lock.

    Processes joined by `jax.distributed` open, save and restore together; process 0 holds the lock.

    Args:
        path: the folder; a writer makes it.
        keep: how many of the newest steps a writer keeps; two survive damage to one.
        read_only: for readers: no lock, and a save that runs elsewhere is left alone.

    Raises:
        FileNotFoundError: a reader finds no folder.
        FileExistsError: the path is a file.
        BlockingIOError: another process is writing there.

    Example:
        >>> with CheckpointStore("run/checkpoints") as store:
        ...     store.save(100, {"params": params, "opt": opt_state}, extra={"loss": 0.5})
        ...     step, state, extra = store.restore({"params": params, "opt": opt_state})
    """

    def __init__(
        self, path: str | os.PathLike[str], *, keep: int = 2, read_only: bool = False
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}: 1 or more is expected")
        text = os.fspath(path)
        self._remote = "://" in text  # a bucket knows no locks and costs a round trip a file
        self.path = epath.Path(text if self._remote else os.path.abspath(text))
        self._keep = keep
        self._read_only = read_only
        self._damaged: dict[int, str] = {}
        self._open = contextlib.ExitStack()
        self._manager: Any = None

    def __enter__(self) -> Self:
        if self._read_only and not self.path.is_dir():
            raise FileNotFoundError(f"{self.path} is not a folder: checkpoints are expected there")
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file: a folder is expected")
        with contextlib.ExitStack() as stack:
            if not self._read_only and jax.process_index() == 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                if not self._remote:
                    stack.enter_context(locked(Path(self.path).with_name(self.path.name + ".lock")))
            options = ocp.CheckpointManagerOptions(
                # Only the holder of the lock may take a temporary folder for one that a killed
                # process left.
                cleanup_tmp_directories=not self._read_only,
                read_only=self._read_only,
                create=not self._read_only,
                save_interval_steps=0 if self._read_only else 1,
                enable_async_checkpointing=False,
                lightweight_initialize=True,  # the other way reads files that may be damaged
            )
            with _without_orbax_chatter():
                handlers = {
                    "arrays": ocp.StandardCheckpointHandler(),
                    "manifest": ocp.JsonCheckpointHandler(),
                }
                self._manager = ocp.CheckpointManager(
                    self.path, options=options, item_handlers=handlers
                )
                stack.callback(self._manager.close)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()
        if error is not None and not self._read_only and jax.process_index() == 0:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)  # only if nothing was ever saved there

    def steps(self) -> list[int]:
        """The steps that are there, ascending; damaged ones are among them."""
        return sorted(ocp.utils.checkpoint_steps(self.path))

    def save(self, step: int, state: Any, extra: Mapping[str, Any] | None = None) -> None:
        """Saves a step, whole or not at all, and removes old ones; returns when it is on the disk.

        Args:
            step: its number, larger than that of every step there. Steps that `restore` found
                damaged do not count:
                they are removed.
            state: any pytree of arrays.
            extra: what to keep beside the arrays: any JSON object.

        Raises:
            ValueError: a step as late is there already, or something is neither an array nor JSON.
            OSError: the disk refused; the steps that were there stay.
        """
        leaves = leaves_by_name(state)
        manifest = make_manifest(leaves, extra or {})
        for damaged in sorted(self._damaged.keys() & self.steps()):
            self._manager.delete(damaged)
        latest = max(self.steps(), default=None)
        if latest is not None and step <= latest:
            raise ValueError(
                f"{self.path} holds step {latest} already: step {step} is not saved over or before it"
            )
        arrays = {name: leaf for name, leaf in leaves.items() if leaf.size}
        args = ocp.args.Composite(
            arrays=ocp.args.StandardSave(arrays), manifest=ocp.args.JsonSave(manifest)
        )
        try:
            saved = self._manager.save(step, args=args)
        except Exception as error:
            for leftover in self.path.glob(f"{step}{_TEMPORARY}*"):
                leftover.rmtree(missing_ok=True)
            if (disk := _disk_error(error)) is not None:
                raise OSError(disk, os.strerror(disk), str(self.path)) from error
            raise
        if not saved:  # Orbax's way of refusing
            raise RuntimeError(f"{self.path}: Orbax did not save step {step}")
        if jax.process_index() == 0:
            if not self._remote:
                list_files(Path(self.path) / str(step))
            self._remove_old()
        multihost_utils.sync_global_devices(
            "saved"
        )  # nobody looks at the folder while it is tidied

    def _remove_old(self) -> None:
        """Orbax would remove a step file by file; a process killed meanwhile would leave what looks
        like damage.
        """
        for step in self.steps()[: -self._keep]:
            doomed = (
                self.path / f"{step}{_TEMPORARY}"
            )  # a name that is cleaned up when a writer opens the folder
            (self.path / str(step)).rename(doomed)
            doomed.rmtree()

    def restore(self, target: Any = None) -> Restored:
        """Reads the newest undamaged step, with a warning for every damaged one that is passed
        over.

        Args:
            target: a pytree like the one saved, of arrays or `jax.ShapeDtypeStruct`: where a leaf
                has a sharding, the array is read onto those devices, whatever devices saved it;
                other leaves become NumPy arrays. None: everything, as NumPy arrays by name.

        Returns:
            Step, state and extra.

        Raises:
            FileNotFoundError: there is no checkpoint.
            AllDamagedError: every step is damaged.
            ValueError: the newest whole one is of another model (the message names the leaves that
                differ) or of a newer format.
        """
        while True:
            steps = [step for step in self.steps() if step not in self._damaged]
            if not steps:
                if self._damaged:
                    lines = "; ".join(self._damaged.values())
                    raise AllDamagedError(f"{self.path} holds damaged checkpoints only: {lines}")
                raise FileNotFoundError(f"{self.path} holds no checkpoint")
            try:
                manifest = self._read_manifest(steps[-1])
                return Restored(
                    steps[-1], self._read_arrays(steps[-1], manifest, target), manifest["extra"]
                )
            except _DamageError as error:
                if (
                    steps[-1] not in self.steps()
                ):  # its writer removed it meanwhile, because newer ones are there
                    continue
                self._damaged[steps[-1]] = str(error)
                if len(steps) > 1:  # else the error says it
                    back = f"going back to step {steps[-2]}"
                    warnings.warn(
                        f"step {steps[-1]} is damaged, {back}: {error}",
                        RuntimeWarning,
                        stacklevel=2,
                    )

    def describe(self) -> list[dict[str, Any]]:
        """Says what is there, the newest step last; damaged steps too.

        Returns:
            `step` and `damaged` (one line, or None) of each step, and of undamaged ones the
            `arrays` (name to dtype and shape) and `extra`.
        """
        return [self._describe(step) for step in self.steps()]

    def _describe(self, step: int) -> dict[str, Any]:
        try:
            manifest = self._read_manifest(step)
            self._read_arrays(step, manifest, None)
        except (_DamageError, ValueError) as error:
            return {"step": step, "damaged": str(error)}
        arrays = {
            name: f"{record['dtype']} {record['shape']}"
            for name, record in manifest["arrays"].items()
        }
        return {"step": step, "damaged": None, "arrays": arrays, "extra": manifest["extra"]}

    def _read_manifest(self, step: int) -> dict[str, Any]:
        folder = self.path / str(step)
        with _damage_shows(folder / "manifest"):
            if not self._remote:
                check_listed_files(Path(folder))
            args = ocp.args.Composite(manifest=ocp.args.JsonRestore())
            content = dict(self._manager.restore(step, args=args).manifest)
            digest = content.pop("sha256")
            if digest != hashlib.sha256(canonical_json(content)).hexdigest():
                raise ValueError("its content does not agree with its sha256")
        if content["format_version"] > FORMAT_VERSION:
            raise ValueError(
                f"{self.path} step {step} has format version {content['format_version']}, newer than {FORMAT_VERSION}: "
                "update lore_jax"
            )
        return content

    def _read_arrays(self, step: int, manifest: Mapping[str, Any], target: Any) -> Any:
        records = manifest["arrays"]
        stored = {
            name: jax.ShapeDtypeStruct(tuple(record["shape"]), record["dtype"])
            for name, record in records.items()
        }
        wanted = stored if target is None else leaves_by_name(target)
        if found := differences(wanted, stored):
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise ValueError(
                f"{self.path} step {step} is not of this model: {'; '.join(found[:_SHOWN])}{more}"
            )
        places = {name: _place(leaf) for name, leaf in wanted.items()}
        arrays = {name: place for name, place in places.items() if place.size}
        with _damage_shows(self.path / str(step) / "arrays"):
            args = ocp.args.Composite(arrays=ocp.args.StandardRestore(arrays))
            restored = dict(self._manager.restore(step, args=args).arrays)
        for name, place in places.items():
            if not place.size:
                zeros = np.zeros(place.shape, place.dtype)
                sharding = getattr(place, "sharding", None)
                restored[name] = zeros if sharding is None else jax.device_put(zeros, sharding)
            if digest_of(restored[name]) != records[name]["sha256"]:
                raise _DamageError(
                    f"{self.path} step {step}: array {name} does not agree with its sha256"
                )
        ordered = {name: restored[name] for name in wanted}
        return (
            ordered
            if target is None
            else jax.tree.unflatten(jax.tree.structure(target), ordered.values())
        )


class _DamageError(Exception):
    """A step is not what was saved."""


@contextlib.contextmanager
def _damage_shows(place: epath.Path) -> Iterator[None]:
    """Takes any complaint of the reading libraries for damage, which may show anywhere, but not a
    refusal to read.
    """
    try:
        yield
    except (_DamageError, PermissionError, MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise _DamageError(
            first if str(place.parent) in first else f"{place} cannot be read: {first[:200]}"
        ) from error


@contextlib.contextmanager
def _without_orbax_chatter() -> Iterator[None]:
    """Opening for reading logs three warnings that say that it is for reading."""

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger = logging.getLogger("absl")
    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)


def _place(leaf: Any) -> Any:
    """What Orbax reads a leaf into: an array on devices where there is a sharding, else a NumPy
    array.
    """
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        return np.empty(leaf.shape, leaf.dtype)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _disk_error(error: BaseException) -> int | None:
    """The errno of a refusing disk; tensorstore raises ValueError with the system's text in it."""
    if isinstance(error, OSError):
        return error.errno
    known = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
    return next((number for number in known if os.strerror(number) in str(error)), None)
