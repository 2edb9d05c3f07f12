"""The manifest of a cache: its files, what they hold, and whether that is true."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import ml_dtypes
import numpy as np
from tqdm import tqdm

from lore_jax.storage.files import (
    FileEntry,
    Verify,
    find_corruption,
    is_temporary,
    json_sha256,
    read_checked,
)
from lore_jax.storage.json_fields import Count, Versioned, check_fields
from lore_jax.storage.safetensors import read_header

FORMAT_VERSION = 2
MANIFEST, PROGRESS = "manifest.json", "progress.json"
PAIRS, USERS, HEAD = "pairs.safetensors", "users.json", "head.safetensors"
TEXTS, EXTRA, ANSWERS = "texts.jsonl", "extra.jsonl", "answers.safetensors"
PAIR_COLUMNS = ("chosen", "rejected", "user", "prompt", "pair_weight")
DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
}

_SHARD = re.compile(r"embeddings-\d{5,}\.safetensors")


StoredType = Literal["float16", "bfloat16", "float32"]


class ShardEntry(FileEntry):
    """Name, size, sha256 and number of rows of a shard."""

    rows: Count


class CacheManifest(TypedDict):
    """What `manifest.json` says of a finished cache; `responses`, `pairs`, `users` are counts."""

    format_version: Count
    encoder: dict[str, Any]  # what made the embeddings, any JSON object
    inputs: str | None  # a digest of what the rows were made from
    dim: Count
    dtype: StoredType
    responses: Count
    pairs: Count
    users: Count
    note: str | None  # must be said beside every number from these pairs
    shards: list[ShardEntry]
    files: list[FileEntry]


class Job(TypedDict):
    """What a write makes; another one with an equal job may resume it."""

    encoder: dict[str, Any]
    inputs: str | None
    dim: Count
    dtype: StoredType
    rows_per_shard: Count


class Progress(TypedDict):
    """What `progress.json` says of an interrupted write: its job, and the shards that are done."""

    job: Job
    shards: list[ShardEntry]


class CacheReport(TypedDict, total=False):
    """What `describe_cache` says; the fields after `corrupt` as far as they are known."""

    path: str
    finished: bool  # False for an interrupted write
    files: dict[str, int]  # name to bytes
    unexpected_files: list[str]  # not named by the manifest
    corrupt: list[str]  # one line a corrupt file
    format_version: int
    encoder: dict[str, Any]
    dim: int
    dtype: str
    responses: int
    pairs: int
    users: int
    note: str | None
    fingerprint: str
    shards: int


def shard_name(number: int) -> str:
    """The file name of shard `number`, counted from 0."""
    return f"embeddings-{number:05d}.safetensors"


def is_part_of_cache(name: str) -> bool:
    """Whether a file of this name may stand in a cache's folder."""
    known = (MANIFEST, PROGRESS, PAIRS, USERS, HEAD, TEXTS, EXTRA, ANSWERS)
    return name in known or bool(_SHARD.fullmatch(name)) or is_temporary(name)


def partial_of(folder: Path) -> Path:
    """Where an interrupted write of a cache lies, beside its folder."""
    named = folder if folder.name else Path(os.path.abspath(folder))  # "." has no name
    return named.parent / f"{named.name}.partial"


def read_manifest(path: str | os.PathLike[str]) -> CacheManifest:
    """The manifest of a cache, a dict, checked against its own digest.

    Args:
        path: the cache's folder.

    Returns:
        The `CacheManifest`.

    Raises:
        FileNotFoundError: there is no cache; the message says so if an interrupted write is there.
        ValueError: the manifest is corrupt, or of another format version than this library reads.
    """
    folder = Path(path)
    file = folder / MANIFEST
    if not file.is_file():
        partial = partial_of(folder)
        resume = f"; {partial} holds an interrupted write, which the same command resumes"
        hint = resume if partial.exists() else ""
        raise FileNotFoundError(f"{folder} is not a cache: it has no {MANIFEST}{hint}")
    content = read_checked(file)
    check_fields(content, Versioned, str(file))
    if (version := content["format_version"]) != FORMAT_VERSION:
        again = "make the cache again with lore-jax prepare or embed"
        advice = again if version < FORMAT_VERSION else "update lore_jax"
        versions = f"format version {version}, this lore_jax reads {FORMAT_VERSION}"
        raise ValueError(f"{file} has {versions}: {advice}")
    check_fields(content, CacheManifest, str(file))
    if (rows := sum(shard["rows"] for shard in content["shards"])) != content["responses"]:
        expected = f"{content['responses']} responses are expected"
        raise ValueError(f"{file}: the shards have {rows} rows, {expected}")
    return cast(CacheManifest, content)


def encoder_fingerprint(manifest: Mapping[str, object]) -> str:
    """A short digest of what made the embeddings; a model takes tables of one fingerprint only.

    Args:
        manifest: what `read_manifest` returns. Its `encoder` and `dim` count, its `dtype` does not.

    Returns:
        16 hexadecimal digits.
    """
    return json_sha256([manifest["encoder"], manifest["dim"]])[:16]


def check_files(folder: Path, entries: Sequence[FileEntry], verify: Verify) -> None:
    """Raises ValueError for the first corrupt file of `entries`."""
    if verify not in ("full", "quick"):
        raise ValueError(f"verify is {verify!r}: 'full' or 'quick' is expected")
    label, few = f"verifying {folder.name}", len(entries) <= 8
    for entry in tqdm(entries, desc=label, unit="file", leave=False, disable=few or None):
        if line := find_corruption(folder, entry, verify):
            raise ValueError(line)


def read_shard_header(folder: Path, manifest: CacheManifest, shard: ShardEntry) -> int:
    """Checks a shard's header against the manifest; returns the offset of its first row."""
    file = folder / shard["name"]
    tensor = read_header(file).get("embeddings")
    expected = (shard["rows"], manifest["dim"])
    if tensor is None or tensor.shape != expected or tensor.dtype != DTYPES[manifest["dtype"]]:
        content = "no embeddings" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
        wanted = f"{manifest['dtype']} {list(expected)}"
        raise ValueError(f"{file} holds {content}: {wanted} is expected by the manifest")
    return tensor.offset


def describe_cache(path: str | os.PathLike[str], *, verify: Verify = "full") -> CacheReport:
    """Says what a cache holds; works on corrupt and unfinished ones too.

    Args:
        path: the cache's folder.
        verify: "full" checks every sha256, "quick" the sizes only.

    Returns:
        The `CacheReport`, a dict.

    Raises:
        FileNotFoundError: neither a cache nor an interrupted write is there.

    Example:
        >>> describe_cache("cache")["corrupt"]  # doctest: +SKIP
        []
    """
    folder = Path(path)
    partial = partial_of(folder)
    finished = folder.exists() or not partial.exists()
    folder = folder if finished else partial
    if not folder.is_dir() or not any(is_part_of_cache(entry.name) for entry in folder.iterdir()):
        raise FileNotFoundError(f"{Path(path)} is not a cache: it has no {MANIFEST}")
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir()) if file.is_file()}
    report = CacheReport(path=str(folder), finished=finished, files=files, unexpected_files=[])
    try:
        content = read_manifest(folder) if finished else _read_progress(folder)
    except (OSError, ValueError) as error:
        report["corrupt"] = [str(error), *_corrupt_headers(folder, files)]
        return report
    entries = [*content["shards"], *content.get("files", [])]
    problems = (find_corruption(folder, entry, verify) for entry in entries)
    report["corrupt"] = [line for line in problems if line is not None]
    expected = {MANIFEST, PROGRESS, *(entry["name"] for entry in entries)}
    report["unexpected_files"] = sorted(files.keys() - expected)
    fields = ("format_version", "encoder", "dim", "dtype", "responses", "pairs", "users", "note")
    known = {name: value for name, value in content.items() if name in fields}
    report.update(cast(CacheReport, known))
    report["fingerprint"], report["shards"] = encoder_fingerprint(content), len(content["shards"])
    return report


def read_progress(folder: Path) -> Progress:
    """What an interrupted write left in `progress.json`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is corrupt.
    """
    progress = read_checked(folder / PROGRESS)
    check_fields(progress, Progress, str(folder / PROGRESS))
    return cast(Progress, progress)


def _read_progress(folder: Path) -> dict[str, Any]:
    """What an interrupted write says, under the names of the manifest."""
    progress = read_progress(folder)
    rows = sum(shard["rows"] for shard in progress["shards"])
    return {**progress["job"], "shards": progress["shards"], "responses": rows}


def _corrupt_headers(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """Without a manifest: which tensor files do not even open."""
    for name in names:
        if name.endswith(".safetensors"):
            try:
                read_header(folder / name)
            except ValueError as error:
                yield str(error)
