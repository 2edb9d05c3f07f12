"""Reads an embedding cache (`lore_jax.storage.cache.writer`): whole, a range of rows, its texts."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from lore_jax.data.encoder_identity import identity_of
from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.storage.available_memory import available_memory
from lore_jax.storage.cache.manifest import (
    DTYPES,
    HEAD,
    PAIR_COLUMNS,
    PAIRS,
    TEXTS,
    USERS,
    CacheManifest,
    ShardEntry,
    check_files,
    read_manifest,
    read_shard_header,
)
from lore_jax.storage.cache.stored_table import StoredShard, StoredTable, read_into
from lore_jax.storage.files import Verify
from lore_jax.storage.safetensors import map_tensor

_MOST_MEMORY = 0.5  # of what is free: a larger table stays on disk


def load_cache(
    path: str | os.PathLike[str], *, verify: Verify = "full", rows: tuple[int, int] | None = None
) -> Preferences:
    """Loads a cache; its table is held once, mapped where it is one shard, else read.

    A table of more than half of the memory that is free stays on disk, as a `StoredTable`: the
    gaussian, simplex and bradley-terry methods are fitted from there, their settings given.

    Args:
        path: the folder.
        verify: "full" checks the sha256 of every file, "quick" only sizes and headers of shards.
        rows: `(start, stop)`: only these rows of the table, and the pairs within them.

    Returns:
        The `Preferences`; `row` is the number of the pair in the cache (and in `extra.jsonl`).

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: a file is corrupt (the message says which), or of another format version.

    Example:
        >>> prefs = load_cache("cache")  # doctest: +SKIP
    """
    folder, manifest = Path(path), read_manifest(path)
    responses = manifest["responses"]
    start, stop = rows or (0, responses)
    _check_rows(folder, start, stop, responses)
    check_files(folder, manifest["files"], "full")
    check_files(folder, [shard for shard, *_ in _shards_of(manifest, start, stop)], verify)
    names = {entry["name"] for entry in manifest["files"]}
    user_ids = json.loads((folder / USERS).read_bytes()) if USERS in names else None
    # One column stands for the table: its rows were checked when they were written.
    prefs = from_arrays(
        np.zeros((responses, 1), np.float16),
        **{name: map_tensor(folder / PAIRS, name) for name in PAIR_COLUMNS},
        num_users=manifest["users"],
        user_ids=user_ids,
    )
    if rows is not None:
        inside = [(index >= start) & (index < stop) for index in (prefs.chosen, prefs.rejected)]
        prefs = prefs.take_pairs(inside[0] & inside[1])
        chosen, rejected = prefs.chosen - start, prefs.rejected - start
        prefs = dataclasses.replace(prefs, chosen=chosen, rejected=rejected)
    head = np.array(map_tensor(folder / HEAD, "head")) if HEAD in names else None
    table: Any = _table(folder, manifest, start, stop)
    encoder = identity_of(manifest["encoder"])
    return dataclasses.replace(prefs, embeddings=table, head=head, encoder=encoder)


def read_rows(path: str | os.PathLike[str], start: int, stop: int) -> Float[np.ndarray, "rows dim"]:
    """Rows `start` to `stop` of the table, mapped where one shard holds them.

    Args:
        path: the folder.
        start: the first row.
        stop: one past the last row.

    Returns:
        `[stop - start, dim]`, in the cache's dtype. Sizes and headers of the shards are checked,
        not their sha256.

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: the rows are outside the table, or a file is corrupt.
    """
    folder, manifest = Path(path), read_manifest(path)
    _check_rows(folder, start, stop, manifest["responses"])
    check_files(folder, [shard for shard, *_ in _shards_of(manifest, start, stop)], "quick")
    return np.asarray(_table(folder, manifest, start, stop))


def read_texts(path: str | os.PathLike[str]) -> Iterator[tuple[str | list[dict[str, Any]], str]]:
    """(prompt, reply) of each response, in order, if there are texts; a prompt may be a chat."""
    folder = Path(path)
    if any(entry["name"] == TEXTS for entry in read_manifest(folder)["files"]):
        with open(folder / TEXTS, encoding="utf-8") as file:
            for line in file:
                response = json.loads(line)
                yield response["prompt"], response["reply"]


def _check_rows(folder: Path, start: int, stop: int, responses: int) -> None:
    if not 0 <= start < stop <= responses:
        table = f"its table of {responses} responses"
        raise ValueError(f"{folder}: rows {start} to {stop} are outside {table}")


def _shards_of(
    manifest: CacheManifest, start: int, stop: int
) -> Iterator[tuple[ShardEntry, int, int]]:
    """The shards that hold rows from `start` to `stop`, each with that range inside the shard."""
    first = 0
    for shard in manifest["shards"]:
        last = first + shard["rows"]
        if first < stop and start < last:
            yield shard, max(start, first) - first, min(stop, last) - first
        first = last


def _table(
    folder: Path, manifest: CacheManifest, start: int, stop: int
) -> Float[np.ndarray, "rows dim"] | StoredTable:
    dtype, dim = DTYPES[manifest["dtype"]], manifest["dim"]
    shards = list(_shards_of(manifest, start, stop))
    size = (stop - start) * dim * dtype.itemsize
    if size > _MOST_MEMORY * available_memory():
        stored = [
            StoredShard(
                folder / shard["name"],
                read_shard_header(folder, manifest, shard) + low * dim * dtype.itemsize,
                high - low,
            )
            for shard, low, high in shards
        ]
        return StoredTable(stored, dtype, dim)
    if len(shards) == 1:
        ((shard, low, high),) = shards
        read_shard_header(folder, manifest, shard)
        return map_tensor(folder / shard["name"], "embeddings")[low:high]
    # Read, not mapped and copied: pages of a map would count as memory a second time. The array is
    # 64-byte aligned, so that JAX takes it on a CPU without a copy.
    memory = np.empty(size + 64, np.uint8)
    table = memory[-memory.ctypes.data % 64 :][:size].view(dtype).reshape(stop - start, dim)
    row = 0
    for shard, low, high in shards:
        offset = read_shard_header(folder, manifest, shard) + low * dim * dtype.itemsize
        read_into(folder / shard["name"], offset, table[row : row + high - low])
        row += high - low
    return table
