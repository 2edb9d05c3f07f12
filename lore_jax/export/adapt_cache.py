"""Adapting to the users of a cache on disk, some at a time: populations that fit in no memory.

What stays in memory is the rewards of the table, `rank` numbers a response, and the positions of
each user's pairs; embeddings, pairs and names are read when they are needed, and posteriors are
handed on as soon as they are known.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.data.long_rows import LongRows, find_long_rows, squared_norms
from lore_jax.data.preferences import Preferences
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior
from lore_jax.storage.cache import manifest as cache_manifest
from lore_jax.storage.cache.manifest import PAIR_COLUMNS, PAIRS, USERS, CacheManifest
from lore_jax.storage.cache.reader import read_rows
from lore_jax.storage.safetensors import map_tensor
from lore_jax.users.adapt import adapt_rewards

_TABLE_BYTES = 2**26  # of embeddings that are in memory together
_PAIRS_AT_A_TIME = 2**24  # in a part of the user column that is looked at together


def adapt_cache(
    model: Model, path: str | os.PathLike[str], *, users_at_a_time: int = 2**18
) -> Iterator[Posterior]:
    """Weights and posteriors of the users of a cache, in their order, some of them at a time.

    Memory: 4 rank bytes a response, 8 bytes a user, 8 bytes a pair if the pairs are not in the
    order of their users, and the posteriors of `users_at_a_time`. Every file is checked against the
    manifest before the first user. Rows so long that they must be mistakes count nothing, as in a
    fit; a warning names the longest.

    Args:
        model: a fitted model.
        path: the folder of a cache, over embeddings of the model's encoder.
        users_at_a_time: how many users' posteriors are in memory together.

    Yields:
        `adapt`'s `Posterior` of the next users, with their names if the cache has any.

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: a file is corrupt, or the embeddings are of another width than the model's.

    Example:
        >>> export_weights("users.parquet", adapt_cache(model, "cache"))  # doctest: +SKIP
    """
    if users_at_a_time < 1:
        raise ValueError(f"users_at_a_time is {users_at_a_time}: 1 or more is expected")
    folder, manifest = Path(path), cache_manifest.read_manifest(path)
    cache_manifest.check_files(folder, [*manifest["files"], *manifest["shards"]], "full")
    table, is_long = rewards_of_cache(model, folder, manifest)
    columns = {name: map_tensor(folder / PAIRS, name) for name in PAIR_COLUMNS}
    if is_long is not None:
        pairs = is_long.rows[columns["chosen"]] | is_long.rows[columns["rejected"]]
        is_long.warn(f"{int(pairs.sum())} pairs")
    count, order = _sort_by_user(columns["user"], manifest["users"])
    offset = np.concatenate([[0], np.cumsum(count)])
    has_names = USERS in [record["name"] for record in manifest["files"]]
    names = _read_names(folder) if has_names else None
    for first in range(0, max(1, manifest["users"]), users_at_a_time):
        stop = min(first + users_at_a_time, manifest["users"])
        positions = slice(int(offset[first]), int(offset[stop]))
        row = np.arange(positions.start, positions.stop) if order is None else order[positions]
        pairs = positions if order is None else row
        part = {name: np.asarray(column[pairs]) for name, column in columns.items()}
        if is_long is not None:
            mistaken = is_long.rows[part["chosen"]] | is_long.rows[part["rejected"]]
            part["pair_weight"] = np.where(mistaken, np.float32(0), part["pair_weight"])
        part["user"] = np.repeat(np.arange(stop - first, dtype=np.int32), count[first:stop])
        user_ids = np.array([*itertools.islice(names, stop - first)], str) if names else None
        users = {"num_users": stop - first, "user_ids": user_ids}
        prefs = Preferences(embeddings=table, **part, **users, row=row, head=None)
        yield adapt_rewards(model, table, prefs)


def rewards_of_cache(
    model: Model, folder: Path, manifest: CacheManifest
) -> tuple[Float[Array, "responses rank"], LongRows | None]:
    """The rewards of every response of a cache, read part by part; 0 of rows that are too long."""
    responses = manifest["responses"]
    rows = max(1, _TABLE_BYTES // (4 * manifest["dim"]))
    table, squares = np.empty((responses, model.rank), np.float32), np.empty(responses)
    for start in range(0, responses, rows):
        stop = min(start + rows, responses)
        part = read_rows(folder, start, stop)
        table[start:stop] = rewards(model, part).table
        squares[start:stop] = squared_norms(part, first=start)
    is_long = find_long_rows(squares)
    if is_long is not None:
        table[is_long.rows] = 0
    return jnp.asarray(table), is_long


def _sort_by_user(
    user: Int[np.ndarray, " pairs"], num_users: int
) -> tuple[Int[np.ndarray, " users"], Int[np.ndarray, " pairs"] | None]:
    """The number of pairs of each user, and the order that sorts pairs by user; None: sorted."""
    count, ascending, last = np.zeros(num_users, np.int64), True, 0
    for start in range(0, len(user), _PAIRS_AT_A_TIME):
        part = np.asarray(user[start : start + _PAIRS_AT_A_TIME])
        count += np.bincount(part, minlength=num_users)
        ascending &= bool(part[0] >= last and (np.diff(part) >= 0).all())
        last = part[-1]
    return count, None if ascending else np.argsort(user, kind="stable")


def _read_names(folder: Path) -> Iterator[str]:
    """The users' names one by one: the file holds one name a line."""
    with open(folder / USERS, encoding="utf-8") as file:
        for line in file:
            text = line.strip().rstrip(",")
            if text not in ("[", "]", "[]"):
                yield json.loads(text)
