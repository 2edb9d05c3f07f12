"""Answers of every kind that a session keeps: rows and levels of each user, on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import Answers
from lore_jax.model.answer_model import num_entries
from lore_jax.users.entries import Entries, rows_of_entries

_SLOTS = 8  # made at a time


class Kept(NamedTuple):
    """Answers of one kind by some users; what stands behind `count` means nothing.

    Attributes:
        items: rows of the responses, int32 `[users, slots, items]`.
        outcome: the level, int32 `[users, slots]`.
        order: when, among the user's answers of all kinds, int64 `[users, slots]`.
        count: how many answers each user has given, int32 `[users]`.
    """

    items: Int[np.ndarray, "users slots items"]
    outcome: Int[np.ndarray, "users slots"]
    order: Int[np.ndarray, "users slots"]
    count: Int[np.ndarray, " users"]

    def take(self, users: Int[np.ndarray, " n"]) -> Kept:
        """The answers of some of these users, as a copy."""
        return Kept(*[field[users] for field in self])

    def with_slots(self, slots: int) -> Kept:
        """Room for at least so many answers."""
        more = slots - self.outcome.shape[1]
        if more <= 0:
            return self
        padding = (0, 0), (0, more)
        items = np.pad(self.items, (*padding, (0, 0)))
        return Kept(items, np.pad(self.outcome, padding), np.pad(self.order, padding), self.count)


def no_answers(kind: Kind, users: int) -> Kept:
    """Of users who have said nothing.

    Example:
        >>> no_answers(Kind("rating", 1, levels=5), 2).count
        array([0, 0], dtype=int32)
    """
    shape = users, _SLOTS
    return Kept(
        np.zeros((*shape, kind.num_items), np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int64),
        np.zeros(users, np.int32),
    )


def last_order(kept: Sequence[Kept]) -> Int[np.ndarray, " users"]:
    """The number of each user's last answer of any kind; 0 where there is none."""
    last = np.zeros(len(kept[0].count), np.int64)
    for part in kept:
        live = np.arange(part.order.shape[1]) < part.count[:, None]
        last = np.maximum(last, np.max(part.order * live, axis=1, initial=0))
    return last


def added(
    kept: Kept,
    new: Answers,
    place: Int[np.ndarray, " n"],
    order: Int[np.ndarray, " n"],
    capacity: int,
) -> Kept:
    """The answers of some users, and new ones behind them.

    Args:
        kept: of the users; stays as it is.
        new: answers of the same kind.
        place: whose each new answer is, among the users of `kept`.
        order: the number of each new answer.
        capacity: the most answers of this kind that are kept of a user.

    Returns:
        All answers.

    Raises:
        ValueError: a user has too many.

    Example:
        >>> stars = answers(Kind("rating", 1, levels=5), [3], [0], outcome=[4])
        >>> one = np.zeros(1, int)
        >>> added(no_answers(stars.kind, 1), stars, one, one + 1, 8).count
        array([1], dtype=int32)
    """
    by_user = np.argsort(place, kind="stable")
    sorted_place = place[by_user]
    more = np.bincount(place, minlength=len(kept.count))
    ahead = np.arange(len(place)) - (np.cumsum(more) - more)[sorted_place]
    count = kept.count + more
    if count.max(initial=0) > capacity:
        got = f"a user would have {count.max()} {new.kind}"
        raise ValueError(f"{got}: at most {capacity}, the session's capacity, are kept")
    slots = -(-int(count.max(initial=1)) // _SLOTS) * _SLOTS
    out = Kept(*[field.copy() for field in kept]).with_slots(slots)
    at = out.count[sorted_place] + ahead
    out.items[sorted_place, at] = new.items[by_user]
    out.outcome[sorted_place, at] = new.outcome[by_user]
    out.order[sorted_place, at] = order[by_user]
    return out._replace(count=count.astype(np.int32))


def without_last(kept: Sequence[Kept], last: int | None) -> list[Kept]:
    """Without each user's last few answers, of whatever kind; None: without any.

    Example:
        >>> [part.count.tolist() for part in without_last([no_answers(Kind("tie", 2, 3), 2)], 1)]
        [[0, 0]]
    """
    if last is None:
        return [part._replace(count=np.zeros_like(part.count)) for part in kept]
    orders = [
        np.where(np.arange(part.order.shape[1]) < part.count[:, None], part.order, 0)
        for part in kept
    ]
    together = np.sort(np.concatenate(orders, axis=1), axis=1)[:, ::-1]
    first_dropped = together[:, min(last, together.shape[1]) - 1]
    return [
        part._replace(
            count=np.sum((order > 0) & (order < first_dropped[:, None]), axis=1, dtype=np.int32)
        )
        for part, order in zip(kept, orders, strict=True)
    ]


def entries_of(
    kinds: Sequence[Kind],
    kept: Sequence[Kept],
    *,
    capacity: int,
    responses: int,
    neighbours: bool,
) -> Entries:
    """The answers of some users as a solver takes them, each kind padded to `capacity` answers.

    Args:
        kinds: what each part of `kept` says.
        kept: answers of the same users, kind by kind.
        capacity: the most answers of a kind.
        responses: of the table, behind which padding points.
        neighbours: whether rankings are laid out by neighbours.
    """
    each = [num_entries(kind, neighbours=neighbours) for kind in kinds]
    users, size = len(kept[0].count), capacity * sum(each)
    rows = np.zeros((2, size, users), np.int32)
    weight = np.zeros((size, users), np.float32)
    outcomes, at = [], 0
    for kind, part, entries in zip(kinds, kept, each, strict=True):
        slots = min(part.outcome.shape[1], capacity)
        own = slice(at, at + slots * entries)
        pairs = rows_of_entries(kind, part.items[:, :slots], responses, neighbours=neighbours)
        for out, values in zip(rows, pairs, strict=True):
            out[own].reshape(slots, entries, users)[:] = values.transpose(1, 2, 0)
        live = np.arange(slots)[:, None] < part.count
        weight[own].reshape(slots, entries, users)[:] = live[:, None]
        outcome = np.zeros((capacity, users), np.int32)
        outcome[:slots] = part.outcome[:, :slots].T
        outcomes.append(outcome)
        at += capacity * entries
    numbers = np.arange(users, dtype=np.int32)
    return Entries(numbers, tuple(kinds), rows[0], rows[1], weight, tuple(outcomes), neighbours)
