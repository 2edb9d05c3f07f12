"""Adapting to the users of a cache on disk, some at a time: populations that fit in no memory.

What stays in memory is the rewards of the table, `rank` numbers a response, and where each user's
pairs stand; embeddings, pairs and names are read when they are needed, and posteriors are handed on
as soon as they are found.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lore_jax.data.preferences import Preferences
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior
from lore_jax.storage.cache.manifest import (
    PAIR_COLUMNS,
    PAIRS,
    USERS,
    CacheManifest,
    check_files,
    read_manifest,
)
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
    manifest before the first user.

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
        >>> export_weights("weights.parquet", adapt_cache(model, "cache"))
    """
    if users_at_a_time < 1:
        raise ValueError(f"users_at_a_time is {users_at_a_time}: 1 or more is expected")
    folder, manifest = Path(path), read_manifest(path)
    check_files(folder, [*manifest["files"], *manifest["shards"]], "full")
    table = _rewards_of(model, folder, manifest)
    columns = {name: map_tensor(folder / PAIRS, name) for name in PAIR_COLUMNS}
    count, order = _where_users_are(columns["user"], manifest["users"])
    place = np.concatenate([[0], np.cumsum(count)])
    names = (
        _read_names(folder)
        if any(record["name"] == USERS for record in manifest["files"])
        else None
    )
    for first in range(0, max(1, manifest["users"]), users_at_a_time):
        users = slice(first, min(first + users_at_a_time, manifest["users"]))
        places = slice(int(place[first]), int(place[users.stop]))
        pairs = places if order is None else order[places]
        some = {name: np.asarray(column[pairs]) for name, column in columns.items()}
        row = np.arange(places.start, places.stop) if order is None else order[places]
        some["user"] = np.repeat(np.arange(users.stop - first, dtype=np.int32), count[users])
        own = (
            None
            if names is None
            else np.array(list(itertools.islice(names, users.stop - first)), dtype=str)
        )
        prefs = Preferences(
            embeddings=table, **some, num_users=users.stop - first, user_ids=own, row=row, head=None
        )
        yield adapt_rewards(model, table, prefs)


def _rewards_of(model: Model, folder: Path, manifest: CacheManifest) -> Any:
    import jax.numpy as jnp

    responses = manifest["responses"]
    rows = max(1, _TABLE_BYTES // (4 * manifest["dim"]))
    table = np.empty((responses, model.rank), np.float32)
    for start in range(0, responses, rows):
        stop = min(start + rows, responses)
        table[start:stop] = rewards(model, read_rows(folder, start, stop)).table
    return jnp.asarray(table)


def _where_users_are(user: np.ndarray, num_users: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The number of pairs of each user, and the order that sorts pairs by user; None if they are
    sorted already.
    """
    count, ascending, last = np.zeros(num_users, np.int64), True, 0
    for start in range(0, len(user), _PAIRS_AT_A_TIME):
        part = np.asarray(user[start : start + _PAIRS_AT_A_TIME])
        count += np.bincount(part, minlength=num_users)
        ascending &= bool(part[0] >= last and (np.diff(part) >= 0).all())
        last = part[-1]
    return count, None if ascending else np.argsort(user, kind="stable")


def _read_names(folder: Path) -> Iterator[str]:
    """The users' names one by one: the list stands in its file with one name a line."""
    with open(folder / USERS, encoding="utf-8") as file:
        for line in file:
            text = line.strip().rstrip(",")
            if text not in ("[", "]", "[]"):
                yield json.loads(text)
