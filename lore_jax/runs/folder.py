"""The folder of a run: what was fitted, on what, and which pairs were kept for the test.

    run.json           the `RunManifest`, with its own sha256
    split.safetensors  who is seen and unseen, and which pairs of the cache are in which part
    metrics.jsonl      loss and gradient norm of every step; checkpoints keep its digest
    checkpoints/       the state of the fit; what a killed run goes on from
    model/             the fitted model and its users; there once the fit is finished
    results.json       what `evaluate` found, with its own sha256

`run.json` is written after the split: a folder without it holds nothing that matters.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np

from lore_jax.data.answer_split import AnswerSplit, take_answers
from lore_jax.data.feedback import Feedback
from lore_jax.data.feedback_splits import strict_pairs
from lore_jax.data.four_way import FourWay
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy, Holdout, Users
from lore_jax.data.summary import summary
from lore_jax.storage.cache.answers import load_feedback
from lore_jax.storage.cache.manifest import encoder_fingerprint, read_manifest
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.files import (
    FileEntry,
    find_corruption,
    json_sha256,
    read_checked,
    with_checksum,
    write_file,
)
from lore_jax.storage.json_fields import Count, Versioned, check_fields
from lore_jax.storage.safetensors import map_tensor, write_tensors

FORMAT_VERSION = 2
MANIFEST, SPLIT, METRICS, RESULTS = "run.json", "split.safetensors", "metrics.jsonl", "results.json"
CHECKPOINTS, MODEL = "checkpoints", "model"
_LIBRARIES = ("lore-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_PARTS = (MANIFEST, SPLIT, METRICS, RESULTS, CHECKPOINTS, MODEL)
_OF_CACHE = ("encoder", "dim", "dtype", "responses", "pairs", "users", "note")


class RunData(TypedDict):
    """The cache of a run: its folder, the digest of its manifest, and what that says."""

    cache: str
    manifest_sha256: str
    fingerprint: str
    encoder: dict[str, object]
    dim: Count
    dtype: str
    responses: Count
    pairs: Count
    users: Count
    note: str | None


class SplitManifest(TypedDict):
    """How a run's cache was cut: the split's digest and summary, its parts' sizes, its file."""

    digest: str
    summary: NotRequired[list[str]]  # younger than the format
    parts: dict[str, Count]
    dropped: dict[str, Count]
    file: FileEntry


# The parts of a split that are in every run.
_NEEDED_PARTS = TypedDict(
    "_NEEDED_PARTS",
    {"train": Count, "shots": Count, "users/seen": Count, "users/unseen": Count},
)


class _MethodEntry(TypedDict):
    name: str


class _FitEntry(TypedDict):
    method: _MethodEntry
    holdout: Holdout
    folds: Count
    group_by: GroupBy | None


class _ConfigEntry(TypedDict):
    """What is read of `RunManifest.config`."""

    seed: Count
    fit: _FitEntry


class RunManifest(TypedDict):
    """What `run.json` says; `config` holds what decides the result, `choice` what was chosen."""

    format_version: Count
    data: RunData
    split: SplitManifest | None
    config: dict[str, Any]
    group_by: GroupBy | None
    steps: Count
    choice: dict[str, float]
    validation: list[dict[str, object]]
    as_said: NotRequired[bool]  # whether answers were fitted as said; younger than the format
    devices: dict[str, object]
    versions: dict[str, str | None]


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of a run's cache.

    Attributes:
        train: the pairs that were fitted, of the seen users.
        shots: pairs of the unseen users to adapt on, or None if all users were fitted.
        tests: the pairs kept for the test, by users and items; empty if all were fitted.
    """

    train: Preferences
    shots: Preferences | None
    tests: dict[tuple[Users, Holdout], Preferences]


@dataclasses.dataclass(frozen=True)
class AnswerParts:
    """The parts of a run's cache as they were said; fields as of `Parts`."""

    train: Feedback
    shots: Feedback | None
    tests: dict[tuple[Users, Holdout], Feedback]

    def as_pairs(self) -> Parts:
        """The strict pairs that the answers of each part make."""
        shots = None if self.shots is None else strict_pairs(self.shots)
        tests = {condition: strict_pairs(part) for condition, part in self.tests.items()}
        return Parts(strict_pairs(self.train), shots, tests)


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A run on disk: its folder, and what its `run.json` says."""

    path: Path
    manifest: RunManifest

    @property
    def is_finished(self) -> bool:
        """Whether the fit has ended and left its model."""
        folder = self.path / MODEL
        return folder.is_dir() and any(entry.name.isdecimal() for entry in folder.iterdir())

    @property
    def as_said(self) -> bool:
        """Whether answers were fitted as they were said, not the pairs of the cache."""
        return self.manifest.get("as_said", False)

    def load_parts(self, cache: str | os.PathLike[str] | None = None) -> Parts:
        """Loads the cache of the run, or `cache` where it is now, and cuts it as the run did.

        Where answers were fitted as they were said, these are the strict pairs that they make.

        Raises:
            FileNotFoundError: the cache is not there.
            ValueError: it or the split is corrupt, or it is another than the run was made of.
        """
        if self.as_said:
            return self.load_answer_parts(cache).as_pairs()
        prefs = load_cache(self._own_cache(cache))
        if self.manifest["split"] is None:
            return Parts(prefs, None, {})
        arrays = self._split_arrays()
        position = np.argsort(prefs.row)  # of the pair of each row: pairs are sorted by user

        def part(name: str, users: Users) -> Preferences:
            return prefs.take_pairs(position[arrays[name]]).take_users(arrays[f"users/{users}"])

        tests = {key: part(name, key[0]) for key, name in _tests_among(arrays).items()}
        return Parts(train=part("train", "seen"), shots=part("shots", "unseen"), tests=tests)

    def load_answer_parts(self, cache: str | os.PathLike[str] | None = None) -> AnswerParts:
        """The same for the answers of the cache as they were said; raises as `load_parts`."""
        feedback = load_feedback(self._own_cache(cache))
        if self.manifest["split"] is None:
            return AnswerParts(feedback, None, {})
        arrays = self._split_arrays()

        def part(name: str, users: Users) -> Feedback:
            return take_answers(feedback, arrays[name], arrays[f"users/{users}"])

        tests = {key: part(name, key[0]) for key, name in _tests_among(arrays).items()}
        return AnswerParts(train=part("train", "seen"), shots=part("shots", "unseen"), tests=tests)

    def _own_cache(self, cache: str | os.PathLike[str] | None) -> Path:
        """The folder of the run's cache; ValueError if it is another one."""
        data = self.manifest["data"]
        folder = Path(data["cache"] if cache is None else cache)
        if (digest := json_sha256(read_manifest(folder))) != data["manifest_sha256"]:
            raise ValueError(
                f"{folder} is another cache than the one of {self.path}: its manifest has sha256 "
                f"{digest[:12]}..., {data['manifest_sha256'][:12]}... is expected"
            )
        return folder

    def _split_arrays(self) -> dict[str, np.ndarray]:
        """Rows of the parts and ids of the users; ValueError if the split is corrupt."""
        split = self.manifest["split"]
        assert split is not None
        if line := find_corruption(self.path, split["file"]):
            raise ValueError(line)
        return {name: np.asarray(map_tensor(self.path / SPLIT, name)) for name in split["parts"]}


def _tests_among(names: Collection[str]) -> dict[tuple[Users, Holdout], str]:
    """The tests of a split, to the names of their arrays."""
    return {
        (users, items): name
        for users in ("seen", "unseen")
        for items in ("known items", "new items")
        if (name := f"test/{users}/{items}") in names
    }


def read_run(path: str | os.PathLike[str]) -> RunFolder:
    """Opens a run.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: its manifest is corrupt, or of another format.
    """
    folder = Path(path)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder} is not a run: it has no {MANIFEST}")
    manifest, file = read_checked(folder / MANIFEST), str(folder / MANIFEST)
    check_fields(manifest, Versioned, file)
    if (number := manifest["format_version"]) != FORMAT_VERSION:
        advice = "update lore_jax" if number > FORMAT_VERSION else "fit it again"
        raise ValueError(
            f"{folder / MANIFEST} has format version {number}, this lore_jax reads "
            f"{FORMAT_VERSION}: {advice}"
        )
    check_fields(manifest, RunManifest, file)
    check_fields(manifest["config"], _ConfigEntry, f"{file}: config")
    if manifest["split"] is not None:
        check_fields(manifest["split"]["parts"], _NEEDED_PARTS, f"{file}: split.parts")
        check_fields(manifest["group_by"], GroupBy, f"{file}: group_by")
    return RunFolder(folder, cast(RunManifest, manifest))


def refuse_folder(path: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuses to begin a run where it would remove what nobody said could go.

    Raises:
        FileExistsError: the path is a file, or the folder holds a run or anything else.
        ValueError: `resume` and `overwrite` are both asked for.
    """
    if resume and overwrite:
        raise ValueError("resume and overwrite are both asked for: one of them is expected")
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file: a folder is expected")
    if not path.exists():
        return
    names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    if unexpected := [name for name in names if name.removesuffix(".lock") not in _PARTS]:
        raise FileExistsError(
            f"{path} holds {unexpected[0]!r}, which is no part of a run: choose another folder"
        )
    if (path / MANIFEST).exists() and not resume and not overwrite:
        raise FileExistsError(
            f"{path} holds a run already: resume it, overwrite it, or choose another folder"
        )


def begin_run(
    path: Path, cache: Path, split: FourWay | AnswerSplit | None, about: Mapping[str, object]
) -> RunFolder:
    """Writes what a run begins with, `run.json` last; what stood in the folder is removed.

    Args:
        path: the folder; made if it is not there.
        cache: the cache.
        split: how it was cut, or None: all of it is fitted.
        about: config, choice and the like; any JSON object.
    """
    path.mkdir(exist_ok=True)
    for name in _PARTS:  # `run.json` first: without it the others are nothing
        if (path / name).is_dir():
            shutil.rmtree(path / name)
        else:
            (path / name).unlink(missing_ok=True)
    manifest = read_manifest(cache)
    data = {
        "cache": os.path.abspath(cache),
        "manifest_sha256": json_sha256(manifest),
        "fingerprint": encoder_fingerprint(manifest),
        **{name: manifest[name] for name in _OF_CACHE},
    }
    versions = {
        "python": platform.python_version(),
        **{name: _version(name) for name in _LIBRARIES},
    }
    content = {
        "format_version": FORMAT_VERSION,
        "data": data,
        "split": None if split is None else _write_split(path, split),
        "group_by": None if split is None else split.group_by,
        **about,
        "versions": versions,
    }
    write_file(path / MANIFEST, [with_checksum(content)])
    return read_run(path)


def _write_split(path: Path, split: FourWay | AnswerSplit) -> SplitManifest:
    users = {"users/seen": split.seen_users, "users/unseen": split.unseen_users}
    arrays = {**split.rows, **users}
    arrays = {name: array.astype(np.int64) for name, array in arrays.items()}
    record = write_tensors(path / SPLIT, arrays)
    return {
        "digest": split.digest,
        "summary": summary(split),
        "parts": {name: len(array) for name, array in arrays.items()},
        "dropped": split.dropped._asdict(),
        "file": {"name": SPLIT, "bytes": record.bytes, "sha256": record.sha256},
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:  # run from a folder, not installed
        return None
