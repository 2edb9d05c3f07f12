"""Mini-batches: the table cut into parts that no pair crosses; a step is taken on each.

A pair ties its two responses together. Responses tied by any chain of pairs form a component (the
replies to a prompt; a whole conversation, if everybody in it judges the same statements), and a
minibatch is a run of components in the order of the table, so that it need not be copied. Where
texts stand in the order of the users who judged them, such a minibatch would hold all pairs of a
few users: its gradient would be theirs, and everybody else's places in it padding. Components are
then dealt at random. A step on one minibatch reads the minibatch's rows and nothing else: an epoch,
one step on every minibatch, passes over the table as often as a single step on all of it. A
minibatch small enough stays in a processor's cache between the two products of a step, and a table
too large for a device's memory passes through it minibatch by minibatch.

Users keep the places that `layout.py` gave them: a minibatch is the same buckets of the same users
with fewer shots. All minibatches have the same shapes, hence one compiled program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lore_jax.data.preferences import Preferences
from lore_jax.parallel.buckets import FitData, Layout, PerUser, UserBucket, deal
from lore_jax.parallel.devices import Devices, any_process, on_one_cpu, replicate, split

_PAIRS_AT_A_TIME = 200_000
_USERS_LOOKED_AT = 100
_CROWDED = (
    0.5  # the part of the crowding that dealing must get below to be worth a copy of the table
)
_WASTE = 1.5  # times the rows in use: the most that minibatches may read to spare the table a copy


@dataclasses.dataclass(frozen=True, eq=False)
class Minibatch:
    """A part of the table and all pairs within it, on the host.

    Attributes:
        rows: its rows of the table: a slice, so that nothing is copied, or row numbers int32
            `[rows]` where the rows of minibatches lie between each other.
        buckets: its pairs, `[shards, shots, users]`, rows counted within the minibatch.
    """

    rows: Any
    buckets: tuple[UserBucket, ...]


def assign_minibatches(prefs: Preferences, count: int) -> np.ndarray:
    """Cuts the table into parts of about equally many rows: runs, or components at random.

    Args:
        prefs: the pairs.
        count: the most minibatches to make; there are fewer where pairs tie many responses
            together.

    Returns:
        The minibatch of each response, int32 `[responses]`, -1 for responses in no pair; no number
        is left out. The same on every call.

    Example:
        >>> assign_minibatches(prefs, 40).max()
        39
    """
    # Each tie once: many users judge the same two responses.
    ties = np.zeros(0, np.int64)
    for part in _parts(prefs):
        ties = np.union1d(
            ties, prefs.chosen[part] * np.int64(prefs.num_responses) + prefs.rejected[part]
        )
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
    """The part of each component: parts end where the rows so far pass a multiple of a share."""
    middle = np.cumsum(rows[order]) - rows[order] / 2
    minibatch = np.empty(len(rows), np.int64)
    minibatch[order] = middle * count // rows.sum()
    return np.unique(minibatch, return_inverse=True)[1]


def _crowding(prefs: Preferences, minibatch: np.ndarray) -> float:
    """`sum_b n_b^2`, `n_b` a user's pairs in part b, averaged over some users: least when even."""
    count = prefs.pairs_per_user()
    some, ends = (
        np.unique(np.linspace(0, prefs.num_users - 1, _USERS_LOOKED_AT, dtype=np.int64)),
        np.cumsum(count),
    )
    in_minibatches = [
        np.bincount(minibatch[prefs.chosen[ends[user] - count[user] : ends[user]]]) for user in some
    ]
    return float(np.mean([np.sum(own.astype(np.float64) ** 2) for own in in_minibatches]))


def lay_out_minibatches(
    prefs: Preferences, layout: Layout, minibatch: np.ndarray
) -> Iterator[Minibatch]:
    """Lays the pairs out minibatch by minibatch.

    Args:
        prefs: the pairs to fit.
        layout: where their users live.
        minibatch: the minibatch of each response, from `assign_minibatches`.

    Returns:
        The minibatches, all of the same shapes, each made when it is asked for.

    Example:
        >>> for one in lay_out_minibatches(prefs, layout, assign_minibatches(prefs, 40)):
        ...     buckets = one.buckets
    """
    rows, place = _rows_of(minibatch)
    # Pairs by user and, within a user, by minibatch: those of user u in minibatch b are
    # `order[first[u, b] :][: count[u, b]]`.
    order = np.empty(prefs.num_pairs, np.int32)
    count = np.zeros(prefs.num_users * len(rows), np.int32)
    for part in _parts(prefs):
        cell = minibatch[prefs.chosen[part]] + len(rows) * prefs.user[part].astype(np.int64)
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
        pair_weight = np.where(inside, prefs.pair_weight[pairs], np.float32(0.0))
        chosen, rejected = (
            np.where(inside, place[side[pairs]], 0) for side in (prefs.chosen, prefs.rejected)
        )
        return UserBucket(chosen, rejected, pair_weight)  # pyright: ignore[reportArgumentType]

    return (
        Minibatch(part, tuple(bucket(number, ids) for ids in layout.ids))
        for number, part in enumerate(rows)
    )


def _parts(prefs: Preferences) -> Iterator[slice]:
    """The pairs, some at a time and never a user in two parts: sorting takes little memory."""
    ends = np.cumsum(prefs.pairs_per_user())
    start = 0
    while start < prefs.num_pairs:
        stop = int(ends[np.searchsorted(ends, min(start + _PAIRS_AT_A_TIME, prefs.num_pairs))])
        yield slice(start, stop)
        start = stop


def _rows_of(minibatch: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """The rows of each part, equally many, and each response's index within its part."""
    responses = len(minibatch)
    used = np.argsort(minibatch, kind="stable")[np.sum(minibatch < 0) :]
    size = np.bincount(minibatch[used])
    ends = np.cumsum(size)
    low, high = np.minimum.reduceat(used, ends - size), np.maximum.reduceat(used, ends - size) + 1
    length = int((high - low).max())
    # Runs of the table, the shorter ones lengthened by rows of their neighbours, unless that reads
    # many rows for nothing.
    if length * len(size) <= _WASTE * len(used):
        start = np.minimum(low, responses - length)
        place = np.where(minibatch >= 0, np.arange(responses) - start[minibatch], 0)
        return [slice(int(first), int(first) + length) for first in start], place.astype(
            _index_type(length)
        )
    place = np.zeros(responses, np.int32)
    place[used] = np.arange(len(used)) - np.repeat(ends - size, size)
    parts = [used[end - n : end] for n, end in zip(size, ends, strict=True)]
    return [np.resize(part, size.max()) for part in parts], place.astype(
        _index_type(int(size.max()))
    )


def _index_type(rows: int) -> Any:
    """Two bytes if they do: of millions of pairs the row numbers take most of the memory."""
    return np.int16 if rows <= np.iinfo(np.int16).max else np.int32


class PlacedMinibatches:
    """The minibatches of a joint fit (`minibatches.py`), on devices or on their way there.

    A table that fits stays on the devices. One that does not passes through them: while a step
    works on one minibatch the next one is sent.

    Args:
        prefs: the pairs to fit.
        input_scale: what the basis divides embeddings by.
        devices: where to.
        count: the most minibatches to make.
        resident: whether the table stays; None: if the device has room.

    Example:
        >>> minibatches = PlacedMinibatches(prefs, 1.0, jax.devices(), 40)
        >>> for data in minibatches.in_turn(range(len(minibatches))):
        ...     state, info = step(state, data, hyper)
    """

    def __init__(
        self,
        prefs: Preferences,
        input_scale: float,
        devices: Devices,
        count: int,
        *,
        resident: bool | None = None,
    ) -> None:
        self.layout = deal(prefs, len(devices))
        self._table, self._devices = prefs.embeddings, devices
        if isinstance(self._table, jax.Array) and on_one_cpu(self._table):
            # The same memory, of which NumPy takes runs as they are, and rows sooner.
            self._table = np.asarray(self._table)
        minibatch = assign_minibatches(prefs, count)
        self._count = int(minibatch.max()) + 1
        of_user = prefs.weight_per_user() / self._count
        totals = self.layout.spread(of_user.astype(np.float32))
        self._totals = jax.tree.map(lambda leaf: split(leaf, devices), totals)
        self._users = PerUser(tuple(split(ids, devices) for ids in self.layout.ids))
        self._input_scale = replicate(np.float32(input_scale), devices)
        resident = _has_room(devices, prefs.embeddings.nbytes) if resident is None else resident
        minibatches = lay_out_minibatches(prefs, self.layout, minibatch)
        self._placed = (
            [self._place(one) for one in minibatches] if resident else None
        )  # none stays on the host as well
        self._minibatches = list(minibatches)

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
        """The minibatches of the given numbers, each on its devices by the time it is needed."""
        if self._placed is not None:
            yield from (self._placed[number] for number in numbers)
            return
        ahead = None
        for number in numbers:
            current, ahead = (
                ahead,
                self._place(self._minibatches[number]),
            )  # placing returns at once, the transfer goes on
            if current is not None:
                yield current
        if ahead is not None:
            yield ahead


def _has_room(devices: Devices, size: int) -> bool:
    """Whether `size` bytes take at most half of what a device has left; a CPU takes all."""
    here = next(device for device in devices if device.process_index == jax.process_index())
    stats = here.memory_stats() or {}
    (too_large,) = any_process(
        size > (stats.get("bytes_limit", np.inf) - stats.get("bytes_in_use", 0)) / 2
    )
    return not too_large
