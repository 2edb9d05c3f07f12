"""Posteriors of users from answers of every kind that a session keeps, by programs of two shapes.

One user alone is solved for by a program of one user; several are solved for in batches of one
size. Answers of every kind are padded to the session's capacity, so both programs can be compiled
before they are needed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import AnswerModel, num_entries
from lore_jax.model.model import Model
from lore_jax.model.posterior import POSTERIOR_ARRAYS, Posterior
from lore_jax.model.prior import GaussianPrior
from lore_jax.users.adapt import differences
from lore_jax.users.answer_solver import AnswerSolver, solve_entries
from lore_jax.users.answering import AnswerPosterior
from lore_jax.users.kept_answers import Kept, entries_of, no_answers

_ENTRIES_AT_A_TIME = 1 << 15


class AnswerBatchSolver:
    """Solves for users of one model from the answers that a session keeps.

    Args:
        model: a fitted model with a Gaussian prior, or a mixture.
        answers: how people answer.
        table: the model's rewards of the responses, `[responses, rank]`.
        kinds: what may be said; where it may be rated, users have intercepts.
        num_users: the most users of one call.
        capacity: the most answers of a kind of a user.

    Raises:
        ValueError: users have intercepts, and the prior is not Gaussian.

    Example:
        >>> how, table = begin_answers(feedback), rewards(model, feedback.embeddings).table
        >>> stars = Kind("rating", 1, levels=5)
        >>> solver = AnswerBatchSolver(model, how, table, [stars], num_users=2, capacity=8)
        >>> solver.solve([no_answers(stars, 2)]).users.shots
        array([0, 0], dtype=int32)
    """

    def __init__(
        self,
        model: Model,
        answers: AnswerModel,
        table: Float[Array, "responses rank"],
        kinds: Sequence[Kind],
        num_users: int,
        capacity: int,
    ) -> None:
        self._rank, self._responses = model.rank, len(table)
        self._kinds, self._capacity = tuple(kinds), capacity
        # Rankings stand last: what comes before them is added up by one loop.
        self._order = sorted(range(len(kinds)), key=lambda number: not kinds[number].levels)
        rates = any(kind.name == "rating" for kind in kinds)
        self._solver = AnswerSolver(model.prior, answers, table, with_intercept=rates)
        entries = capacity * sum(num_entries(kind, neighbours=True) for kind in kinds)
        most = 1 << (num_users - 1).bit_length()
        self._size = max(1, min(most, _ENTRIES_AT_A_TIME // entries))

    def warmup(self) -> None:
        """Compiles all programs."""
        for users in {1, self._size}:
            self.solve([no_answers(kind, users) for kind in self._kinds])

    def solve(self, kept: Sequence[Kept]) -> AnswerPosterior:
        """Posteriors of some users, on the host.

        Args:
            kept: their answers, kind by kind.
        """
        users = len(kept[0].count)
        if users == 1:
            found = self._solve_part(kept)
        else:
            parts = []
            for at in range(0, users, self._size):
                # The last batch repeats its last user: all batches have one shape.
                some = np.minimum(np.arange(at, at + self._size), users - 1)
                parts.append(self._solve_part([part.take(some) for part in kept]))
            found = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:users], *parts)
        shots = sum((part.count for part in kept), np.zeros(users, np.int32))
        return self._without_intercept(found, shots)

    def _solve_part(self, kept: Sequence[Kept]) -> Posterior:
        solver = self._solver
        entries = entries_of(
            [self._kinds[number] for number in self._order],
            [kept[number] for number in self._order],
            capacity=self._capacity,
            responses=self._responses,
            neighbours=solver.neighbours,
        )
        rows = entries.first, entries.second
        said = entries.outcome, entries.weight
        kinds, neighbours = entries.kinds, entries.neighbours
        found = solve_users(
            solver.prior, solver.answers, solver.table, kinds, neighbours, *rows, *said
        )
        return jax.device_get(found)

    def _without_intercept(self, found: Posterior, shots: np.ndarray) -> AnswerPosterior:
        """The posterior of the weights, and what is known of the intercept behind them."""
        rank, users = self._rank, len(shots)
        weights, covariance = np.asarray(found.weights), np.asarray(found.covariance)
        taken = {name: getattr(found, name) for name in POSTERIOR_ARRAYS}
        taken |= {"covariance": covariance[:, :rank, :rank], "shots": shots}
        posterior = Posterior(**taken | {"weights": weights[:, :rank]})
        if weights.shape[1] == rank:
            nothing = np.zeros((users, rank + 1), np.float32)
            spread = np.full(users, float(self._solver.answers.intercept) ** 2, np.float32)
            return AnswerPosterior(posterior, nothing[:, 0], spread, nothing[:, 1:])
        return AnswerPosterior(
            posterior, weights[:, rank], covariance[:, rank, rank], covariance[:, rank, :rank]
        )


@functools.partial(jax.jit, static_argnames=("kinds", "neighbours"))
def solve_users(
    prior: GaussianPrior,
    answers: AnswerModel,
    table: Float[Array, "rows columns"],
    kinds: tuple[Kind, ...],
    neighbours: bool,
    first: Int[Array | np.ndarray, "entries users"],
    second: Int[Array | np.ndarray, "entries users"],
    outcome: tuple[Int[Array | np.ndarray, "_answers users"], ...],
    weight: Float[Array | np.ndarray, "entries users"],
) -> Posterior:
    """Posteriors with users in front; one program, for a session's table stays as it is."""
    features = differences(table, first, second)
    return solve_entries(prior, answers, kinds, neighbours, outcome, features, weight)
