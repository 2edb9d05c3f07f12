"""The answers that a session keeps: a few rows of numbers a user, on the host."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from lore_jax.data.checks import integers

FIRST_SLOTS = 32


class Answers(NamedTuple):
    """Answers of some users in the order of time; what stands behind `count` means nothing.

    Attributes:
        chosen: row of the response that was chosen, int32 `[users, slots]`.
        rejected: row of the other.
        time: when, float64 `[users, slots]`, ascending.
        count: how many answers each user has given, int32 `[users]`.
    """

    chosen: Int[np.ndarray, "users slots"]
    rejected: Int[np.ndarray, "users slots"]
    time: Float[np.ndarray, "users slots"]
    count: Int[np.ndarray, " users"]

    def take(self, users: Int[np.ndarray, " n"]) -> Answers:
        """The answers of some of these users."""
        return Answers(
            self.chosen[users], self.rejected[users], self.time[users], self.count[users]
        )

    def with_slots(self, slots: int) -> Answers:
        """Room for at least so many answers."""
        more = slots - self.chosen.shape[1]
        if more <= 0:
            return self
        chosen, rejected, time = (np.pad(field, ((0, 0), (0, more))) for field in self[:3])
        return Answers(chosen, rejected, time, self.count)

    def dropped(self, last: int | None) -> Answers:
        """Without the last few answers of each user; None: without any."""
        count = np.zeros_like(self.count) if last is None else np.maximum(self.count - last, 0)
        return self._replace(count=count)

    def last_time(self) -> Float[np.ndarray, " users"]:
        """When each user answered last; -inf where a user has not."""
        place = np.maximum(self.count - 1, 0)[:, None]
        last = np.take_along_axis(self.time, place, axis=1)[:, 0]
        return np.where(self.count > 0, last, -np.inf)


class AnswerStore:
    """The answers of all users, in blocks of slots.

    A block `[slots, users]` is made when the first user needs it, and takes the memory of what is
    written: a user with many answers costs the others nothing.

    Args:
        users: how many users.

    Example:
        >>> AnswerStore(2).take(np.array([1])).count
        array([0], dtype=int32)
    """

    def __init__(self, users: int) -> None:
        self.count = np.zeros(users, np.int32)
        self._blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._grow(FIRST_SLOTS)

    def _grow(self, slots: int) -> None:
        while len(self._blocks) * FIRST_SLOTS < slots:
            shape = FIRST_SLOTS, len(self.count)
            rows = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
            self._blocks.append((*rows, np.zeros(shape)))

    def take(self, users: Int[np.ndarray, " n"]) -> Answers:
        """The answers of some users, as a copy."""
        count = self.count[users]
        num_blocks = max(1, -(-int(count.max(initial=1)) // FIRST_SLOTS))
        chosen, rejected, time = (
            np.concatenate([block[field][:, users] for block in self._blocks[:num_blocks]]).T
            for field in range(3)
        )
        return Answers(chosen, rejected, time, count)

    def put(self, users: Int[np.ndarray, " n"], answers: Answers) -> None:
        """Replaces the answers of some users."""
        slots = answers.chosen.shape[1]
        self._grow(slots)
        for at in range(0, slots, FIRST_SLOTS):
            for field, values in zip(self._blocks[at // FIRST_SLOTS], answers[:3], strict=True):
                part = values[:, at : at + FIRST_SLOTS]
                field[: part.shape[1], users] = part.T
        self.count[users] = answers.count


class NewAnswers(NamedTuple):
    """Some answers of some users, in the order in which they came.

    Attributes:
        user: who, int64 `[n]`.
        chosen: row of the response that was chosen.
        rejected: row of the other.
        time: when; None: one after the user's last.
    """

    user: Int[np.ndarray, " n"]
    chosen: Int[np.ndarray, " n"]
    rejected: Int[np.ndarray, " n"]
    time: Float[np.ndarray, " n"] | None


def check_answers(
    user: Int[np.ndarray, " users"],
    chosen: ArrayLike,
    rejected: ArrayLike,
    time: ArrayLike | None,
    responses: int,
) -> NewAnswers:
    """Answers as arrays of one length, if rows are in the table and differ.

    Raises:
        ValueError: they are not; the message names the first bad entry.

    Example:
        >>> check_answers(np.array([0]), 3, 1, None, 10).chosen
        array([3], dtype=int32)
    """
    sides = [np.atleast_1d(np.asarray(side)) for side in (chosen, rejected)]
    sides = [integers(name, side) for name, side in zip(("chosen", "rejected"), sides, strict=True)]
    lengths = len(sides[0]), len(sides[1])
    if len(set(lengths)) > 1 or len(user) not in (1, lengths[0]):
        got = f"{lengths[0]} chosen, {lengths[1]} rejected, {len(user)} users"
        raise ValueError(f"{got}: as many of each are expected, or one user")
    for name, side in zip(("chosen", "rejected"), sides, strict=True):
        bad = (side < 0) | (side >= responses)
        if bad.any():
            raise ValueError(
                f"{name} holds {side[bad][0]}, outside a table of {responses} responses"
            )
    if (same := sides[0] == sides[1]).any():
        raise ValueError(f"chosen equals rejected (response {sides[0][same][0]})")
    when = None
    if time is not None:
        when = np.atleast_1d(np.asarray(time, np.float64))
        if when.shape != (lengths[0],) or not np.isfinite(when).all():
            got = f"time has shape {when.shape}, all finite: {bool(np.isfinite(when).all())}"
            raise ValueError(f"{got}; {lengths[0]} finite numbers are expected")
    who = np.broadcast_to(user, lengths[0])
    return NewAnswers(who, sides[0].astype(np.int32), sides[1].astype(np.int32), when)


def added(kept: AnswerStore, new: NewAnswers, capacity: int) -> tuple[np.ndarray, Answers]:
    """The users of new answers, and all answers of theirs; `kept` stays as it is.

    Raises:
        ValueError: an answer is dated before an earlier one, or a user has too many.

    Example:
        >>> new = NewAnswers(np.array([1]), np.array([3]), np.array([0]), None)
        >>> users, together = added(AnswerStore(2), new, 100)
        >>> users, together.count
        (array([1]), array([1], dtype=int32))
    """
    users, place = np.unique(new.user, return_inverse=True)
    mine = kept.take(users)
    order = np.argsort(place, kind="stable")
    place = place[order]
    more = np.bincount(place, minlength=len(users))
    ahead = np.arange(len(place)) - (np.cumsum(more) - more)[place]  # within the user's new ones
    count = mine.count + more
    if count.max(initial=0) > capacity:
        raise ValueError(
            f"a user would have {count.max()} answers: at most {capacity}, the session's "
            "capacity, are kept"
        )
    last = mine.last_time()[place]
    if new.time is None:
        time = np.where(np.isfinite(last), last, -1.0) + 1.0 + ahead
    else:
        time = new.time[order]
        before = np.where(ahead > 0, np.roll(time, 1), last)
        if (late := time < before).any():
            raise ValueError(
                f"an answer is dated {time[late][0]:g}, before the user's last one "
                f"({before[late][0]:g}): answers in the order of time are expected"
            )
    mine = mine.with_slots(-(-int(count.max(initial=1)) // FIRST_SLOTS) * FIRST_SLOTS)
    at = mine.count[place] + ahead
    mine.chosen[place, at], mine.rejected[place, at] = new.chosen[order], new.rejected[order]
    mine.time[place, at] = time
    return users, mine._replace(count=count.astype(np.int32))
