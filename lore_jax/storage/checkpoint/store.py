"""Checkpoints: a pytree of arrays and a manifest a step, through Orbax; every flipped bit is found.

    FOLDER/STEP/arrays     the leaves by name, without those of size zero, which Orbax refuses
    FOLDER/STEP/manifest   JSON: format version, shape, dtype and sha256 of every leaf, `extra`,
                           and a checksum of its own
    FOLDER/STEP/files.json size and sha256 of every file of the step, written last

Orbax keeps no checksum of what it stores and calls a step with a flipped bit its latest. Here a
step counts only if its files agree with `files.json`, its manifest with its own digest and every
leaf with the manifest (digests of what was to be saved); reading walks back to the newest such
step. `files.json` keeps corrupt files from Orbax, whose readers answer with tracebacks from several
threads; where a process was killed just before it wrote that file, the step is checked without it.
The manifest alone says what to read, on any number of devices. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, cast

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from lore_jax.storage.checkpoint.manifest import (
    FORMAT_VERSION,
    CheckpointManifest,
    Leaf,
    declared,
    differences,
    digest_of,
    leaves_by_name,
    make_manifest,
)
from lore_jax.storage.checkpoint.orbax_noise import (
    disk_error,
    without_chatter,
    without_tracebacks,
)
from lore_jax.storage.files import check_file_list, json_sha256, locked, write_file_list
from lore_jax.storage.json_fields import Versioned, check_fields

_TEMPORARY = ".orbax-checkpoint-tmp"  # what Orbax appends to the name of a step until it is whole
_SHOWN = 5  # differences named in a message


class Restored(NamedTuple):
    """What a checkpoint held; without a target, `state` is a dict of NumPy arrays (`params/V`)."""

    step: int
    state: Any
    extra: dict[str, Any]


class StepReport(TypedDict):
    """What `CheckpointStore.describe` says of a step; `arrays` and `extra` are empty if corrupt."""

    step: int
    corrupt: str | None  # what is wrong, in one line
    arrays: dict[str, str]  # name to dtype and shape
    extra: dict[str, Any]


class AllCorruptError(ValueError):
    """There are checkpoints, and all of them are corrupt."""


class CheckpointStore:
    """The checkpoints of one folder, a context manager: a writer holds the lock of the folder.

    Processes joined by `jax.distributed` open, save and restore together; process 0 holds the lock.

    Args:
        path: the folder; a writer makes it.
        keep: how many of the newest steps a writer keeps; two survive corruption of one.
        read_only: for readers: no lock, and a save that runs elsewhere is left alone.

    Raises:
        FileNotFoundError: a reader finds no folder.
        FileExistsError: the path is a file.
        BlockingIOError: another process is writing there.

    Example:
        >>> with CheckpointStore("run/checkpoints") as store:  # doctest: +SKIP
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
        self._keep, self._read_only = keep, read_only
        self._corrupt: dict[int, str] = {}
        self._open = contextlib.ExitStack()
        self._manager: ocp.CheckpointManager

    def __enter__(self) -> CheckpointStore:
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
                # Without the lock, a temporary folder may be another process's running save.
                cleanup_tmp_directories=not self._read_only,
                read_only=self._read_only,
                create=not self._read_only,
                save_interval_steps=0 if self._read_only else 1,
                enable_async_checkpointing=False,
                lightweight_initialize=True,  # the other way reads files that may be corrupt
            )
            with without_chatter():
                arrays, manifest = ocp.StandardCheckpointHandler(), ocp.JsonCheckpointHandler()
                handlers = {"arrays": arrays, "manifest": manifest}
                self._manager = ocp.CheckpointManager(
                    self.path, options=options, item_handlers=handlers
                )
                stack.callback(self._manager.close)
            self._open = stack.pop_all()
        return self

    def __exit__(self, error_type: object, *error: object) -> None:
        self._open.close()
        if error_type is not None and not self._read_only and jax.process_index() == 0:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)  # only if nothing was ever saved there

    def steps(self) -> list[int]:
        """The steps that are there, ascending; corrupt ones are among them."""
        return sorted(ocp.utils.checkpoint_steps(self.path))

    def save(self, step: int, state: object, extra: Mapping[str, object] | None = None) -> None:
        """Saves a step, whole or not at all, and removes old ones; returns when it is on the disk.

        Args:
            step: its number, larger than all there; those that `restore` found corrupt are removed.
            state: any pytree of arrays.
            extra: any JSON object to keep beside the arrays.

        Raises:
            ValueError: a step as late is there already, or something is neither an array nor JSON.
            OSError: the disk refused; the steps that were there stay.
        """
        leaves = leaves_by_name(state)
        manifest = make_manifest(leaves, extra or {})
        for corrupt in sorted(self._corrupt.keys() & self.steps()):
            self._manager.delete(corrupt)
        latest = max(self.steps(), default=None)
        if latest is not None and step <= latest:
            refusal = f"step {step} is not saved over or before it"
            raise ValueError(f"{self.path} holds step {latest} already: {refusal}")
        arrays = {name: leaf for name, leaf in leaves.items() if leaf.size}
        items = {"arrays": ocp.args.StandardSave(arrays), "manifest": ocp.args.JsonSave(manifest)}
        try:
            with without_tracebacks():
                saved = self._manager.save(step, args=ocp.args.Composite(**items))
        except Exception as error:
            for leftover in self.path.glob(f"{step}{_TEMPORARY}*"):
                leftover.rmtree(missing_ok=True)
            if (disk := disk_error(error)) is not None:
                raise OSError(disk, os.strerror(disk), str(self.path)) from error
            raise
        if not saved:  # Orbax's way of refusing
            raise RuntimeError(f"{self.path}: Orbax did not save step {step}")
        if jax.process_index() == 0:
            if not self._remote:
                write_file_list(Path(self.path) / str(step))
            self._remove_old()
        # No process looks at the folder before the first has removed the old steps.
        multihost_utils.sync_global_devices("saved")

    def _remove_old(self) -> None:
        """Removes all but the newest steps."""
        for step in self.steps()[: -self._keep]:
            # Orbax would remove a step file by file, and a process killed meanwhile would leave
            # what looks like corruption. A folder of this name is removed when a writer opens it.
            removed = self.path / f"{step}{_TEMPORARY}"
            (self.path / str(step)).rename(removed)
            removed.rmtree()

    def restore(self, target: object = None) -> Restored:
        """Reads the newest intact step; a corrupt one that is passed over gives a warning.

        Args:
            target: a pytree like the one saved, of arrays or `jax.ShapeDtypeStruct`: where a leaf
                has a sharding, the array is read onto those devices, whatever devices saved it;
                other leaves become NumPy arrays. None: everything, as NumPy arrays by name.

        Returns:
            Step, state and extra.

        Raises:
            FileNotFoundError: there is no checkpoint.
            AllCorruptError: every step is corrupt.
            ValueError: the newest intact one is of another model (the message names the leaves
                that differ) or of a newer format.
        """
        while True:
            steps = [step for step in self.steps() if step not in self._corrupt]
            if not steps:
                if self._corrupt:
                    lines = "; ".join(self._corrupt.values())
                    raise AllCorruptError(f"{self.path} holds corrupt checkpoints only: {lines}")
                raise FileNotFoundError(f"{self.path} holds no checkpoint")
            newest = steps[-1]
            try:
                manifest = self._read_manifest(newest)
                state = self._read_arrays(newest, manifest, target)
                return Restored(newest, state, manifest["extra"])
            except _CorruptionError as error:
                # Its writer may have removed the step meanwhile, because newer ones are there.
                if newest not in self.steps():
                    continue
                self._corrupt[newest] = str(error)
                if len(steps) > 1:  # else the error says it
                    text = f"step {newest} is corrupt, going back to step {steps[-2]}: {error}"
                    warnings.warn(text, RuntimeWarning, stacklevel=2)

    def newest_extra(self) -> dict[str, Any]:
        """What the newest step with an intact manifest keeps beside its arrays; or nothing."""
        for step in reversed(self.steps()):
            with contextlib.suppress(_CorruptionError):
                return self._read_manifest(step)["extra"]
        return {}

    def describe(self) -> list[StepReport]:
        """Says what is there, a `StepReport` (a dict) a step, the newest last; corrupt ones too."""
        return [self._describe(step) for step in self.steps()]

    def _describe(self, step: int) -> StepReport:
        try:
            manifest = self._read_manifest(step)
            self._read_arrays(step, manifest, None)
        except (_CorruptionError, ValueError) as error:
            return StepReport(step=step, corrupt=str(error), arrays={}, extra={})
        entries = manifest["arrays"].items()
        arrays = {name: f"{entry['dtype']} {entry['shape']}" for name, entry in entries}
        return StepReport(step=step, corrupt=None, arrays=arrays, extra=manifest["extra"])

    def _read_manifest(self, step: int) -> CheckpointManifest:
        folder = self.path / str(step)
        with _as_corruption(folder / "manifest"):
            if not self._remote:
                check_file_list(Path(folder))
            args = ocp.args.Composite(manifest=ocp.args.JsonRestore())
            manifest = dict(self._manager.restore(step, args=args)["manifest"])
            content = {name: value for name, value in manifest.items() if name != "sha256"}
            if manifest["sha256"] != json_sha256(content):
                raise ValueError("its content does not agree with its sha256")
            check_fields(manifest, Versioned, str(folder / "manifest"))
        if (version := manifest["format_version"]) > FORMAT_VERSION:
            reads = f"this lore_jax reads {FORMAT_VERSION}: update lore_jax"
            raise ValueError(f"{self.path} step {step} has format version {version}, {reads}")
        with _as_corruption(folder / "manifest"):
            check_fields(manifest, CheckpointManifest, str(folder / "manifest"))
        return cast(CheckpointManifest, manifest)

    def _read_arrays(self, step: int, manifest: CheckpointManifest, target: object) -> object:
        entries = manifest["arrays"]
        with _as_corruption(self.path / str(step) / "manifest"):
            stored: Mapping[str, Leaf] = declared(manifest)
        wanted = stored if target is None else leaves_by_name(target)
        if lines := differences(wanted, stored):
            more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
            problem = f"is not of this model: {'; '.join(lines[:_SHOWN])}{more}"
            raise ValueError(f"{self.path} step {step} {problem}")
        targets = {name: _restore_target(leaf) for name, leaf in wanted.items()}
        arrays = {name: leaf for name, leaf in targets.items() if leaf.size}
        with _as_corruption(self.path / str(step) / "arrays"):
            args = ocp.args.Composite(arrays=ocp.args.StandardRestore(arrays))
            restored = dict(self._manager.restore(step, args=args)["arrays"])
        for name, leaf in targets.items():
            if not leaf.size:
                restored[name] = np.zeros(leaf.shape, leaf.dtype)
                if isinstance(leaf, jax.ShapeDtypeStruct):
                    restored[name] = jax.device_put(restored[name], leaf.sharding)
            if digest_of(restored[name]) != entries[name]["sha256"]:
                where = f"{self.path} step {step}: array {name}"
                raise _CorruptionError(f"{where} does not agree with its sha256")
        ordered = {name: restored[name] for name in wanted}
        if target is None:
            return ordered
        return jax.tree.unflatten(jax.tree.structure(target), ordered.values())


class _CorruptionError(Exception):
    """A step is not what was saved."""


@contextlib.contextmanager
def _as_corruption(path: epath.Path) -> Iterator[None]:
    """Turns any complaint of the reading libraries into corruption, but not a refusal to read."""
    try:
        yield
    except (_CorruptionError, PermissionError, MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        if str(path.parent) not in line:
            line = f"{path} cannot be read: {line[:200]}"
        raise _CorruptionError(line) from error


def _restore_target(leaf: Leaf) -> np.ndarray | jax.ShapeDtypeStruct:
    """What Orbax reads a leaf into: devices where it has a sharding, else a NumPy array."""
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        return np.empty(leaf.shape, leaf.dtype)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
