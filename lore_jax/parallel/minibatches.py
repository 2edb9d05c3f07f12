"""Mini-batches: the table cut into parts that no pair crosses; a step is taken on each.

Responses tied by any chain of pairs form a component: the replies to a prompt, or a whole
conversation if everybody judges the same statements. A mini-batch is a run of components in the
order of the table, so that it need not be copied. Where texts stand in the order of the users who
judged them, such a mini-batch would hold all pairs of a few users: its gradient would be theirs,
and the slots of all others padding. Components are then dealt at random.

A step reads the rows of its mini-batch only: an epoch, one step on each, passes over the table
once. A small mini-batch stays in a processor's cache between the two products of a step; a table
too large for a device's memory passes through it in mini-batches. Each is the same buckets of the
same users with fewer shots, and all have the same shapes: one compiled program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lore_jax.data.preferences import Preferences
from lore_jax.parallel.buckets import FitData, Layout, PerUser, UserBucket, deal
from lore_jax.parallel.devices import Devices, has_room, on_one_cpu, replicate, split

_PAIRS_AT_A_TIME = 200_000
_USERS_LOOKED_AT = 100
_CROWDED = 0.5  # of the crowding in runs: above it, dealing is not worth a copy of the table
_WASTE = 1.5  # times the rows in use: the most that mini-batches may read to spare that copy


@dataclasses.dataclass(frozen=True, eq=False)
class Minibatch:
    """A part of the table and all pairs within it, on the host.

    Attributes:
        rows: its rows of the table: a run, so that nothing is copied, or row numbers.
        buckets: its pairs, `[shards, shots, users]`, rows counted within the mini-batch.
    """

    rows: slice | Int[np.ndarray, "rows"]
    buckets: tuple[UserBucket, ...]


def assign_minibatches(prefs: Preferences, count: int) -> Int[np.ndarray, "responses"]:
    """Cuts the table into parts of about equally many rows: runs, or components at random.

    Args:
        prefs: the pairs.
        count: the most mini-batches; fewer are made where pairs tie many responses together.

    Returns:
        The mini-batch of each response, int32 without gaps, -1 for those in no pair; deterministic.

    Example:
        >>> int(assign_minibatches(prefs, 40).max())
        39
    """
    # Each tie once: many users judge the same two responses.
    size, ties = prefs.num_responses, np.zeros(0, np.int64)
    for part in _parts(prefs):
        ties = np.union1d(ties, prefs.chosen[part] * np.int64(size) + prefs.rejected[part])
    graph = coo_array((np.ones(len(ties), bool), np.divmod(ties, size)), (size, size))
    component = connected_components(graph, directed=False)[1]
    used = np.zeros(size, bool)
    used[prefs.chosen] = used[prefs.rejected] = True
    # A component stands where its first row stands.
    _, first, index = np.unique(component[used], return_index=True, return_inverse=True)
    rows = np.bincount(index)
    in_order, dealt = np.full((2, size), -1, np.int32)
    in_order[used] = _cut(np.argsort(first), rows, count)[index]
    dealt[used] = _cut(np.random.default_rng(0).permutation(len(rows)), rows, count)[index]
    return dealt if _crowding(prefs, dealt) < _CROWDED * _crowding(prefs, in_order) else in_order


def _cut(order: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """The part of each component: parts end where the rows so far pass a multiple of a share."""
    middle = np.cumsum(rows[order]) - rows[order] / 2
    minibatch = np.empty(len(rows), np.int64)
    minibatch[order] = middle * count // rows.sum()
    return np.unique(minibatch, return_inverse=True)[1]


def _crowding(prefs: Preferences, minibatch: np.ndarray) -> float:
    """`sum_b n_b^2`, `n_b` a user's pairs in part b, averaged over some users: least when even."""
    count, crowding = prefs.pairs_per_user(), []
    ends = np.cumsum(count)
    for user in np.unique(np.linspace(0, prefs.num_users - 1, _USERS_LOOKED_AT, dtype=np.int64)):
        part = minibatch[prefs.chosen[ends[user] - count[user] : ends[user]]]
        crowding.append(np.sum(np.bincount(part).astype(np.float64) ** 2))
    return float(np.mean(crowding))


def lay_out_minibatches(
    prefs: Preferences, layout: Layout, minibatch: Int[np.ndarray, "responses"]
) -> Iterator[Minibatch]:
    """Lays the pairs out mini-batch by mini-batch.

    Args:
        prefs: the pairs to fit.
        layout: where their users live.
        minibatch: the mini-batch of each response, from `assign_minibatches`.

    Returns:
        The mini-batches, all of the same shapes, each made when it is asked for.

    Example:
        >>> minibatches = lay_out_minibatches(prefs, deal(prefs), assign_minibatches(prefs, 40))
        >>> next(minibatches).buckets[0].chosen.shape  # [shards, shots, users]
        (1, 5, 40)
    """
    rows, index = _rows_of(minibatch)
    # Pairs by user and, within a user, by mini-batch: those of user u in mini-batch b are
    # `order[first[u, b] :][: count[u, b]]`.
    order = np.empty(prefs.num_pairs, np.int32)
    count = np.zeros(prefs.num_users * len(rows), np.int32)
    for part in _parts(prefs):
        group = minibatch[prefs.chosen[part]] + len(rows) * prefs.user[part].astype(np.int64)
        order[part] = part.start + np.argsort(group, kind="stable")
        low = int(prefs.user[part.start]) * len(rows)
        sizes = np.bincount(group - low)
        count[low : low + len(sizes)] += sizes.astype(np.int32)
    first = (np.cumsum(count, dtype=np.int32) - count).reshape(prefs.num_users, -1)
    count = count.reshape(prefs.num_users, -1)

    def bucket(number: int, ids: np.ndarray) -> UserBucket:
        ahead = np.arange(count[ids[ids >= 0]].max())[:, None]
        inside = ahead < np.where(ids >= 0, count[ids, number], 0)[:, None]
        pairs = order[np.where(inside, first[ids, number][:, None] + ahead, 0)]
        pair_weight = np.where(inside, prefs.pair_weight[pairs], np.float32(0.0))
        chosen = np.where(inside, index[prefs.chosen[pairs]], 0)
        rejected = np.where(inside, index[prefs.rejected[pairs]], 0)
        return UserBucket(chosen, rejected, pair_weight)  # pyright: ignore[reportArgumentType]

    every_bucket = (tuple(bucket(b, ids) for ids in layout.ids) for b in range(len(rows)))
    return map(Minibatch, rows, every_bucket)


def _parts(prefs: Preferences) -> Iterator[slice]:
    """The pairs, some at a time and never a user in two parts: sorting takes little memory."""
    ends, start = np.cumsum(prefs.pairs_per_user()), 0
    while start < prefs.num_pairs:
        stop = int(ends[np.searchsorted(ends, min(start + _PAIRS_AT_A_TIME, prefs.num_pairs))])
        yield slice(start, stop)
        start = stop


def _rows_of(minibatch: np.ndarray) -> tuple[Sequence[slice | np.ndarray], np.ndarray]:
    """The rows of each part, equally many, and each response's index within its part."""
    used = np.argsort(minibatch, kind="stable")[np.sum(minibatch < 0) :]
    size = np.bincount(minibatch[used])
    ends = np.cumsum(size)
    low, high = np.minimum.reduceat(used, ends - size), np.maximum.reduceat(used, ends - size) + 1
    length = int((high - low).max())
    # Runs of the table, the shorter ones lengthened by rows of their neighbours, unless that reads
    # many rows for nothing.
    if length * len(size) <= _WASTE * len(used):
        start = np.minimum(low, len(minibatch) - length)
        index = np.where(minibatch >= 0, np.arange(len(minibatch)) - start[minibatch], 0)
        rows = [slice(first, first + length) for first in start.tolist()]
    else:
        length = int(size.max())
        index = np.zeros(len(minibatch), np.int32)
        index[used] = np.arange(len(used)) - np.repeat(ends - size, size)
        rows = [np.resize(used[end - n : end], length) for n, end in zip(size, ends, strict=True)]
    # Two bytes if they do: of millions of pairs the row numbers take most of the memory.
    return rows, index.astype(np.int16 if length <= np.iinfo(np.int16).max else np.int32)


class PlacedMinibatches:
    """The mini-batches of a joint fit, on devices or on their way there.

    A table that fits stays on the devices. Another passes through them: while a step works on a
    mini-batch the next one is sent.

    Args:
        prefs: the pairs to fit.
        input_scale: what the basis divides embeddings by.
        devices: where to.
        count: the most mini-batches to make.

    Example:
        >>> minibatches = PlacedMinibatches(prefs, 1.0, jax.devices(), 4)
        >>> [data.totals is not None for data in minibatches.in_turn([2, 0])]
        [True, True]
    """

    def __init__(
        self, prefs: Preferences, input_scale: float, devices: Devices, count: int
    ) -> None:
        self.layout = deal(prefs, len(devices))
        self._table, self._devices = prefs.embeddings, devices
        if isinstance(self._table, jax.Array) and on_one_cpu(self._table):
            # The same memory, of which NumPy takes runs as they are, and rows sooner.
            self._table = np.asarray(self._table)
        minibatch = assign_minibatches(prefs, count)
        self._count = int(minibatch.max()) + 1
        totals = self.layout.spread((prefs.weight_per_user() / self._count).astype(np.float32))
        self._totals = jax.tree.map(lambda leaf: split(leaf, devices), totals)
        self._users = PerUser(tuple(split(ids, devices) for ids in self.layout.ids))
        self._input_scale = replicate(np.float32(input_scale), devices)
        on_disk = not isinstance(prefs.embeddings, np.ndarray | jax.Array)
        resident = not on_disk and has_room(devices, prefs.embeddings.nbytes)
        minibatches = lay_out_minibatches(prefs, self.layout, minibatch)
        self._placed = [self._place(part) for part in minibatches] if resident else None
        self._minibatches = list(minibatches)  # empty if they are on the devices

    def __len__(self) -> int:
        return self._count

    def _place(self, minibatch: Minibatch) -> FitData:
        return FitData(
            embeddings=replicate(self._table[minibatch.rows], self._devices),
            input_scale=self._input_scale,
            buckets=jax.tree.map(lambda leaf: split(leaf, self._devices), minibatch.buckets),
            users=self._users,
            totals=self._totals,
        )

    def in_turn(self, numbers: Iterable[int]) -> Iterator[FitData]:
        """The mini-batches of the given numbers, each on its devices by the time it is needed."""
        if self._placed is not None:
            yield from (self._placed[number] for number in numbers)
            return
        ahead = None
        for number in numbers:
            # Placing returns at once, the transfer goes on.
            current, ahead = ahead, self._place(self._minibatches[number])
            if current is not None:
                yield current
        if ahead is not None:
            yield ahead
