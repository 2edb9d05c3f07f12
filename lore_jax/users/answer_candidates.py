"""What users of a session may be asked for of one kind, and which of it they have not said yet."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import AnswerModel
from lore_jax.users.answer_criteria import margin_features
from lore_jax.users.answer_questions import (
    AnswerQuestions,
    ask_chunk,
    check_items,
    chunk_size,
    questions_of,
    with_intercepts,
)
from lore_jax.users.answering import AnswerPosterior
from lore_jax.users.kept_answers import Kept, no_answers

NOTHING = np.zeros(0, np.int32)


class AnswerCandidates:
    """Candidates of one kind, the same for all users.

    Args:
        answers: how people answer.
        kind: what is asked for.
        candidates: rows of the table, `[c, items]`, or `[c]` for ratings.
        table: the model's rewards of the responses, `[responses, rank]`, on the host.
        count: how many questions are asked at once.
        num_users: the most users that are asked by one call.

    Raises:
        ValueError: a candidate is outside the table or about another number of responses, or there
            are fewer than `count`.
    """

    def __init__(
        self,
        answers: AnswerModel,
        kind: Kind,
        candidates: ArrayLike,
        table: Float[np.ndarray, "responses rank"],
        *,
        count: int,
        num_users: int,
    ) -> None:
        self._answers, self._kind, self._count = answers, kind, count
        self.rows = check_items(kind, candidates, len(table))
        if len(self.rows) < count:
            got = f"{len(self.rows)} candidates of {kind}"
            raise ValueError(f"{got}: at least {count}, the session's count, are expected")
        self._features = jnp.asarray(margin_features(kind, table[self.rows]))
        self._size = chunk_size(kind, len(self.rows), num_users)
        # A question is the same in whatever order its responses stand.
        self._numbers: dict[tuple[int, ...], list[int]] = {}
        for number, row in enumerate(np.sort(self.rows, axis=1).tolist()):
            self._numbers.setdefault(tuple(row), []).append(number)

    def warmup(self, posterior: AnswerPosterior) -> None:
        """Compiles all programs."""
        for size in {1, self._size}:
            users = np.zeros(size, int)
            self.ask(posterior, users, no_answers(self._kind, size))

    def ask(
        self,
        posterior: AnswerPosterior,
        users: Int[np.ndarray, " n"],
        kept: Kept,
        left_out: Int[np.ndarray, " m"] = NOTHING,
    ) -> AnswerQuestions:
        """The next questions to some users.

        Args:
            posterior: of all users.
            users: which of them.
            kept: what these have said in answers of this kind.
            left_out: numbers of candidates that nobody is asked now.

        Returns:
            The questions; -1 where no candidate is left.
        """
        mean, covariance = with_intercepts(posterior, users)
        left = self.left(kept)
        left[:, left_out] = False
        size, last = 1 if len(users) == 1 else self._size, len(users) - 1
        parts = []
        for at in range(0, len(users), size):
            some = np.minimum(np.arange(at, at + size), last)
            state = mean[some], covariance[some], self._features, left[some]
            picks = ask_chunk(self._answers, self._kind, *state, self._count)
            parts.append(jax.device_get(picks))
        picks = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(users)], *parts)
        return questions_of(self.rows, picks)

    def left(self, kept: Kept) -> Bool[np.ndarray, "users c"]:
        """Which candidates users have not said anything about, in whatever order."""
        left = np.ones((len(kept.count), len(self.rows)), bool)
        said, count = np.sort(kept.items, axis=2).tolist(), kept.count.tolist()
        for user, rows in enumerate(said):
            for row in rows[: count[user]]:
                for number in self._numbers.get(tuple(row), ()):
                    left[user, number] = False
        return left
