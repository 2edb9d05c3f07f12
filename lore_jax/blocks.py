"""Blocks: the table cut into parts that no pair crosses, for fits that take a step on every part.

A pair ties its two responses together. Responses tied by any chain of pairs form a component (the replies to a prompt; a
whole conversation, if everybody in it judges the same statements), and a block is a run of components in the order of the
table, so that it need not be copied. Where texts stand in the order of the users who judged them, such a block would hold
all pairs of a few users: its gradient would be theirs, and everybody else's places in it padding. Components are then dealt
at random. A step on one block reads the block's rows and nothing else: an epoch, one step on every block, passes over the
table as often as a single step on all of it. A block small enough stays in a processor's cache between the two products of
a step, and a table too large for a device's memory passes through it block by block.

Users keep the places that `layout.py` gave them: a block is the same buckets of the same users with fewer shots. All blocks
have the same shapes, hence one compiled program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lore_jax.layout import Layout, UserBucket
from lore_jax.preferences import Preferences

_PAIRS_AT_A_TIME = 200_000
_USERS_LOOKED_AT = 100
_CROWDED = 0.5  # the part of the crowding that dealing must get below to be worth a copy of the table
_WASTE = 1.5  # times the rows in use: the most that blocks may read to spare the table a copy


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """A part of the table and all pairs within it, on the host.

    Attributes:
        rows: its rows of the table: a slice, so that nothing is copied, or row numbers int32 `[rows]` where the rows of
            blocks lie between each other.
        buckets: its pairs, `[shards, shots, users]`, rows counted within the block.
    """

    rows: Any
    buckets: tuple[UserBucket, ...]


def assign_blocks(prefs: Preferences, count: int) -> np.ndarray:
    """Cuts the table into blocks of about equally many rows: runs of it, or components dealt at random.

    Args:
        prefs: the pairs.
        count: the most blocks to make; there are fewer where pairs tie many responses together.

    Returns:
        The block of each response, int32 `[responses]`, -1 for responses in no pair; no number is left out. The same on
        every call.

    Example:
        >>> assign_blocks(prefs, 40).max()
        39
    """
    # Each tie once: many users judge the same two responses.
    ties = np.zeros(0, np.int64)
    for part in _parts(prefs):
        ties = np.union1d(ties, prefs.chosen[part] * np.int64(prefs.num_responses) + prefs.rejected[part])
    shape = (prefs.num_responses, prefs.num_responses)
    ties = coo_array((np.ones(len(ties), bool), np.divmod(ties, prefs.num_responses)), shape)
    component = connected_components(ties, directed=False)[1]
    used = np.zeros(prefs.num_responses, bool)
    used[prefs.chosen] = used[prefs.rejected] = True
    # A component stands where its first row stands.
    names, first, place = np.unique(component[used], return_index=True, return_inverse=True)
    rows = np.bincount(place)
    in_order, dealt = np.full((2, prefs.num_responses), -1, np.int32)
    in_order[used] = _cut(np.argsort(first), rows, count)[place]
    dealt[used] = _cut(np.random.default_rng(0).permutation(len(names)), rows, count)[place]
    return dealt if _crowding(prefs, dealt) < _CROWDED * _crowding(prefs, in_order) else in_order


def _cut(order: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """The block of each component: blocks end where the rows counted so far pass a multiple of a share."""
    middle = np.cumsum(rows[order]) - rows[order] / 2
    block = np.empty(len(rows), np.int64)
    block[order] = middle * count // rows.sum()
    return np.unique(block, return_inverse=True)[1]


def _crowding(prefs: Preferences, block: np.ndarray) -> float:
    """`sum_b n_b^2`, `n_b` a user's pairs in block b, on average over some users: least where pairs are spread evenly."""
    count = prefs.pairs_per_user()
    some, ends = np.unique(np.linspace(0, prefs.num_users - 1, _USERS_LOOKED_AT, dtype=np.int64)), np.cumsum(count)
    in_blocks = [np.bincount(block[prefs.chosen[ends[user] - count[user] : ends[user]]]) for user in some]
    return float(np.mean([np.sum(own.astype(np.float64) ** 2) for own in in_blocks]))


def lay_out_blocks(prefs: Preferences, layout: Layout, block: np.ndarray) -> Iterator[Block]:
    """Lays the pairs out block by block.

    Args:
        prefs: the pairs to fit.
        layout: where their users live.
        block: the block of each response, from `assign_blocks`.

    Returns:
        The blocks, all of the same shapes, each made when it is asked for.

    Example:
        >>> for one in lay_out_blocks(prefs, layout, assign_blocks(prefs, 40)):
        ...     buckets = one.buckets
    """
    rows, place = _rows_of(block)
    # Pairs by user and, within a user, by block: those of user u in block b are `order[first[u, b] :][: count[u, b]]`.
    order = np.empty(prefs.num_pairs, np.int32)
    count = np.zeros(prefs.num_users * len(rows), np.int32)
    for part in _parts(prefs):
        cell = block[prefs.chosen[part]] + len(rows) * prefs.user[part].astype(np.int64)
        order[part] = part.start + np.argsort(cell, kind="stable")
        low = int(prefs.user[part.start]) * len(rows)
        of_part = np.bincount(cell - low)
        count[low : low + len(of_part)] += of_part.astype(np.int32)
    first = (np.cumsum(count, dtype=np.int32) - count).reshape(prefs.num_users, -1)
    count = count.reshape(prefs.num_users, -1)

    def bucket(number: int, ids: np.ndarray) -> UserBucket:
        ahead = np.arange(count[ids[ids >= 0]].max())[:, None]
        inside = ahead < np.where(ids >= 0, count[ids, number], 0)[:, None]
        pairs = order[np.where(inside, first[ids, number][:, None] + ahead, 0)]
        weight = np.where(inside, prefs.weight[pairs], np.float32(0.0))
        chosen, rejected = (np.where(inside, place[side[pairs]], 0) for side in (prefs.chosen, prefs.rejected))
        return UserBucket(chosen, rejected, weight)

    return (Block(part, tuple(bucket(number, ids) for ids in layout.ids)) for number, part in enumerate(rows))


def _parts(prefs: Preferences) -> Iterator[slice]:
    """The pairs, some at a time and never a user in two parts, so that sorting them takes little memory."""
    ends = np.cumsum(prefs.pairs_per_user())
    start = 0
    while start < prefs.num_pairs:
        stop = int(ends[np.searchsorted(ends, min(start + _PAIRS_AT_A_TIME, prefs.num_pairs))])
        yield slice(start, stop)
        start = stop


def _rows_of(block: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """The rows of each block, equally many, and where each response stands in its block, `[responses]`."""
    responses = len(block)
    used = np.argsort(block, kind="stable")[np.sum(block < 0) :]
    size = np.bincount(block[used])
    ends = np.cumsum(size)
    low, high = np.minimum.reduceat(used, ends - size), np.maximum.reduceat(used, ends - size) + 1
    length = int((high - low).max())
    # Runs of the table, the shorter ones lengthened by rows of their neighbours, unless that reads many rows for nothing.
    if length * len(size) <= _WASTE * len(used):
        start = np.minimum(low, responses - length)
        place = np.where(block >= 0, np.arange(responses) - start[block], 0)
        return [slice(int(first), int(first) + length) for first in start], place.astype(_index_type(length))
    place = np.zeros(responses, np.int32)
    place[used] = np.arange(len(used)) - np.repeat(ends - size, size)
    parts = [used[end - n : end] for n, end in zip(size, ends, strict=True)]
    return [np.resize(part, size.max()) for part in parts], place.astype(_index_type(int(size.max())))


def _index_type(rows: int) -> Any:
    """Rows of a block are numbered in two bytes if they can be: of millions of pairs the numbers are the largest part."""
    return np.int16 if rows <= np.iinfo(np.int16).max else np.int32
