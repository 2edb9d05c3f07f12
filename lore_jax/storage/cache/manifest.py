"""What the folder of an embedding cache says it holds, and whether that is true: names, manifest,
damage.

The layout of the folder is described in `cache.py`, which reads and writes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from tqdm import tqdm

from lore_jax.storage.files import Verify, canonical_json, damage, read_sealed
from lore_jax.storage.safetensors import read_header

FORMAT_VERSION = 1
MANIFEST, PROGRESS = "manifest.json", "progress.json"
PAIRS, USERS, HEAD = "pairs.safetensors", "users.json", "head.safetensors"
TEXTS, EXTRA = "texts.jsonl", "extra.jsonl"
PAIR_COLUMNS = ("chosen", "rejected", "user", "prompt", "pair_weight")
DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
}

_SHARD = re.compile(r"embeddings-\d{5,}\.safetensors")
_LEFTOVER = re.compile(r"\..+\.tmp-\d+")  # of a process killed while it wrote a file


def shard_name(number: int) -> str:
    """The file name of shard `number`, counted from 0."""
    return f"embeddings-{number:05d}.safetensors"


def is_part_of_cache(name: str) -> bool:
    """Whether a file of this name may stand in a cache's folder."""
    known = (MANIFEST, PROGRESS, PAIRS, USERS, HEAD, TEXTS, EXTRA)
    return name in known or bool(_SHARD.fullmatch(name) or _LEFTOVER.fullmatch(name))


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a cache, checked against its own digest.

    Args:
        path: the cache's folder.

    Returns:
        `format_version`, `encoder`, `inputs`, `dim`, `dtype`, `responses`, `pairs`, `users`, and
        name, size and sha256 of every file: `shards` (with the number of rows of each) and `files`.

    Raises:
        FileNotFoundError: there is no cache; the message says so if an interrupted write is there.
        ValueError: the manifest is damaged, or its format is newer than this library.
    """
    folder = Path(path)
    file = folder / MANIFEST
    if not file.is_file():
        partial = folder.with_name(folder.name + ".partial")
        hint = (
            f"; {partial} holds an interrupted write, which the same command resumes"
            if partial.exists()
            else ""
        )
        raise FileNotFoundError(f"{folder} is not a cache: it has no {MANIFEST}{hint}")
    try:
        version = json.loads(file.read_bytes())["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        version = None  # damaged: found and said below
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ValueError(
            f"{file} has format version {version}, newer than {FORMAT_VERSION}: update lore_jax"
        )
    return read_sealed(file)


def encoder_fingerprint(manifest: Mapping[str, Any]) -> str:
    """A short digest of what made the embeddings: tables with different ones must not meet one
    model.

    Args:
        manifest: what `read_manifest` returns. Its `encoder` and `dim` count; the number type of
            the table does not.

    Returns:
        16 hexadecimal digits.
    """
    return hashlib.sha256(canonical_json([manifest["encoder"], manifest["dim"]])).hexdigest()[:16]


def refuse_damage(folder: Path, records: Sequence[Mapping[str, Any]], verify: Verify) -> None:
    """Raises ValueError for the first damaged file of `records`."""
    if verify not in ("full", "quick"):
        raise ValueError(f"verify is {verify!r}: 'full' or 'quick' is expected")
    few = len(records) <= 8
    for record in tqdm(
        records, desc=f"verifying {folder.name}", group_by="file", leave=False, disable=few or None
    ):
        if line := damage(folder, record, verify):
            raise ValueError(line)


def read_shard_header(folder: Path, manifest: Mapping[str, Any], shard: Mapping[str, Any]) -> int:
    """Checks a shard's header against the manifest and returns the offset of its first row in the
    file.
    """
    file = folder / shard["name"]
    tensor = read_header(file).get("embeddings")
    expected = (shard["rows"], manifest["dim"])
    if tensor is None or tensor.shape != expected or tensor.dtype != DTYPES[manifest["dtype"]]:
        found = "no embeddings" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
        raise ValueError(
            f"{file} holds {found}: {manifest['dtype']} {list(expected)} is expected by the manifest"
        )
    return tensor.offset


def describe_cache(path: str | os.PathLike[str], *, verify: Verify = "full") -> dict[str, Any]:
    """Says what a cache holds; works on damaged and unfinished ones too.

    Args:
        path: the cache's folder.
        verify: "full" checks every sha256, "quick" the sizes only.

    Returns:
        `path`, `finished`, `damaged` (one line a damaged file, empty when all is well), `files`
        (name to bytes), `strangers` (files that the manifest does not name) and, as far as the
        manifest or the interrupted write says, `format_version`, `encoder`, `fingerprint`, `dim`,
        `dtype`, `responses`, `pairs`, `users`, `note`, `shards`.

    Raises:
        FileNotFoundError: neither a cache nor an interrupted write is there.

    Example:
        >>> describe_cache("cache")["damaged"]
        []
    """
    folder = Path(path)
    partial = folder.with_name(folder.name + ".partial")
    finished = folder.exists() or not partial.exists()
    if not finished:
        folder = partial
    if not folder.is_dir() or not any(is_part_of_cache(entry.name) for entry in folder.iterdir()):
        raise FileNotFoundError(f"{Path(path)} is not a cache: it has no {MANIFEST}")
    files = {
        entry.name: entry.stat().st_size for entry in sorted(folder.iterdir()) if entry.is_file()
    }
    report: dict[str, Any] = {
        "path": str(folder),
        "finished": finished,
        "files": files,
        "strangers": [],
        "damaged": [],
    }
    try:
        content = read_manifest(folder) if finished else _progress(folder)
    except (OSError, ValueError, KeyError) as error:
        report["damaged"] = [str(error), *_damaged_headers(folder, files)]
        return report
    records = [*content["shards"], *content.get("files", [])]
    report["damaged"] = [line for record in records if (line := damage(folder, record, verify))]
    report["strangers"] = sorted(
        set(files) - {record["name"] for record in records} - {MANIFEST, PROGRESS}
    )
    fields = ("format_version", "encoder", "dim", "dtype", "responses", "pairs", "users", "note")
    report |= {name: content[name] for name in fields if name in content}
    return report | {"fingerprint": encoder_fingerprint(content), "shards": len(content["shards"])}


def _progress(folder: Path) -> dict[str, Any]:
    progress = read_sealed(folder / PROGRESS)
    rows = sum(shard["rows"] for shard in progress["shards"])
    return {**progress["job"], "shards": progress["shards"], "responses": rows}


def _damaged_headers(folder: Path, files: Mapping[str, int]) -> Iterator[str]:
    """What can be said without a manifest: which tensor files do not even open."""
    for name in files:
        if name.endswith(".safetensors"):
            try:
                read_header(folder / name)
            except ValueError as error:
                yield str(error)
