"""Answers laid out for solvers: users of like length side by side, a margin or more an answer.

Every margin is a difference of two rows of the table of rewards: a rating's second row is one of
zeros behind the table, so that its margin is the response's own reward. Along the first axis stand
the entries of one kind after those of another; a user with fewer is padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import Answers, Feedback
from lore_jax.model.answer_model import AnswerModel, num_entries
from lore_jax.solvers.rankings import pairs_of
from lore_jax.solvers.segments import Segments


class Entries(NamedTuple):
    """Users and the entries of their answers.

    Attributes:
        users: user ids, int32 `[users]`.
        kinds: the kind of each stretch of entries.
        first: rows of the responses whose reward counts, int32 `[entries, users]`.
        second: rows of those it is compared with; of ratings the row of zeros.
        weight: how much an entry counts, 0 for padding, `[entries, users]`.
        outcome: the levels of each stretch, int32 `[answers, users]`.
        neighbours: whether of rankings only neighbours are entries, as Newton's method has it.
    """

    users: Int[np.ndarray, "users"]
    kinds: tuple[Kind, ...]
    first: Int[np.ndarray, "entries users"]
    second: Int[np.ndarray, "entries users"]
    weight: Float[np.ndarray, "entries users"]
    outcome: tuple[Int[np.ndarray, "_answers users"], ...]
    neighbours: bool = False

    def likelihood(self, answers: AnswerModel) -> Segments:
        """The likelihood of these entries."""
        return segments(answers, self.kinds, self.outcome, neighbours=self.neighbours)


def segments(
    answers: AnswerModel,
    kinds: Sequence[Kind],
    outcome: Sequence[Int[Array | np.ndarray, "_answers users"]],
    *,
    neighbours: bool = False,
) -> Segments:
    """The likelihood of stretches of answers, one kind after another.

    Args:
        answers: how people answer.
        kinds: of each stretch.
        outcome: the levels of each stretch.
        neighbours: whether of rankings only neighbours are entries, for Newton's method alone.

    Returns:
        The likelihood.
    """
    of_kind = answers.newton_likelihood if neighbours else answers.likelihood
    pairs = list(zip(kinds, map(jnp.asarray, outcome), strict=True))
    return Segments(
        tuple(of_kind(kind, level) for kind, level in pairs),
        tuple(len(level) * num_entries(kind, neighbours=neighbours) for kind, level in pairs),
    )


def rows_of_entries(
    kind: Kind,
    items: Int[Array | np.ndarray, "*n items"],
    num_responses: int,
    *,
    neighbours: bool = False,
) -> tuple[Int[Array | np.ndarray, "*n entries"], Int[Array | np.ndarray, "*n entries"]]:
    """The two rows of each entry of answers of one kind.

    Args:
        kind: what they say.
        items: rows of the responses.
        num_responses: of the table; the row behind it is the one of zeros.
        neighbours: of rankings only those of neighbours.

    Returns:
        The rows whose reward counts, and those they are compared with.

    Example:
        >>> first, second = rows_of_entries(Kind("ranking", 3, places=2), np.array([[7, 5, 2]]), 9)
        >>> first.tolist(), second.tolist()
        ([[7, 7, 5]], [[5, 2, 2]])
    """
    if kind.name == "rating":
        return items, 0 * items + num_responses
    if neighbours:
        return items[..., :-1], items[..., 1:]
    left, right = np.array(pairs_of(kind.num_items)).T
    return items[..., left], items[..., right]


def buckets_of_users(feedback: Feedback) -> Iterator[Int[np.ndarray, "users"]]:
    """Users with answers, grouped by their number of entries, to powers of two; longest first."""
    entries = np.zeros(feedback.num_users, np.int64)
    for block in feedback.blocks:
        entries += num_entries(block.kind) * np.bincount(block.user, minlength=len(entries))
    length = np.where(entries > 0, np.ceil(np.log2(np.maximum(entries, 1))), -1.0)
    for value in np.unique(length[length >= 0])[::-1]:
        yield np.flatnonzero(length == value).astype(np.int32)


def lay_out_entries(
    feedback: Feedback,
    users: Int[np.ndarray, "users"],
    counts: Sequence[int],
    *,
    neighbours: bool = False,
) -> Entries:
    """The entries of some users, each block padded to `counts` answers; blocks of 0 are left out.

    Args:
        feedback: any feedback.
        users: whose, distinct ids.
        counts: answers of a user in each block, at least as many as anyone has.
        neighbours: of rankings only those of neighbours.

    Returns:
        The entries.
    """
    kinds, first, second, weights, outcomes = [], [], [], [], []
    for block, count in zip(feedback.blocks, counts, strict=True):
        if not count:
            continue
        start = np.searchsorted(block.user, users)
        own = np.searchsorted(block.user, users, side="right") - start
        ahead = np.arange(count)[:, None]
        index = np.minimum(start + ahead, len(block) - 1)
        entries = rows_of_entries(
            block.kind, block.items[index], feedback.num_responses, neighbours=neighbours
        )
        weight = np.where(ahead < own, block.weight[index], np.float32(0.0))
        for rows, out in zip(entries, (first, second), strict=True):
            out.append(np.moveaxis(np.asarray(rows), 2, 1).reshape(-1, len(users)))
        weights.append(np.repeat(weight, num_entries(block.kind, neighbours=neighbours), axis=0))
        kinds.append(block.kind)
        outcomes.append(block.outcome[index])
    rows = np.concatenate(first), np.concatenate(second)
    weight = np.concatenate(weights)
    return Entries(users, tuple(kinds), *rows, weight, tuple(outcomes), neighbours)


def most_answers(block: Answers, users: Int[np.ndarray, "users"]) -> int:
    """The most answers of a block that one of these users gave."""
    count = np.searchsorted(block.user, users, side="right") - np.searchsorted(block.user, users)
    return int(count.max(initial=0))
