"""Posteriors of users from the answers a session keeps, by programs of few shapes.

One user alone is solved with the most slots there are; several are solved in batches of one size,
their answers padded to one of two lengths. So there are three programs at most, and all of them can
be compiled before they are needed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from lore_jax.model.model import Model
from lore_jax.model.posterior import Components, Posterior
from lore_jax.model.prior import Prior
from lore_jax.solvers.likelihood import Likelihood
from lore_jax.users.adapt import project
from lore_jax.users.answers import FIRST_SLOTS, Answers
from lore_jax.users.questions import as_components

_PAIRS_AT_A_TIME = 1 << 15


class BatchSolver:
    """Solves for users of one model from their answers.

    Args:
        model: a fitted model.
        table: its rewards, `[responses, rank]`.
        num_users: the most users of one call.
        capacity: the most answers of a user.
        half_life: after so much time an answer counts half; None: all count alike.

    Example:
        >>> table = rewards(model, prefs.embeddings).table
        >>> solver = BatchSolver(model, table, num_users=2, capacity=32)
        >>> rows, time = np.array([[3], [4]], np.int32), np.zeros((2, 1))
        >>> posterior, _ = solver.solve(Answers(rows, rows + 1, time, np.array([1, 0])))
        >>> posterior.shots
        array([1, 0], dtype=int32)
    """

    def __init__(
        self,
        model: Model,
        table: Array,
        num_users: int,
        capacity: int,
        half_life: float | None = None,
    ) -> None:
        self._model, self._half_life, self._num_users = model, half_life, num_users
        self._along = project(model.prior, table)
        self._levels = sorted({min(FIRST_SLOTS, capacity), capacity})

    def warmup(self) -> None:
        """Compiles all programs."""
        shapes = [(self._levels[-1], 1)]
        if self._num_users > 1:
            shapes += [(level, self._size(level)) for level in self._levels]
        for shape in shapes:
            rows = np.zeros(shape, np.int32)
            jax.block_until_ready(self._run(rows, rows, np.zeros(shape, np.float32)))

    def solve(self, answers: Answers) -> tuple[Posterior, Components]:
        """Posteriors of users, on the host, those with like numbers of answers together."""
        if len(answers.count) == 1:
            return self._solve_part(answers, self._levels[-1], 1)
        level_of = np.searchsorted(self._levels, answers.count)
        places: list[np.ndarray] = []
        parts: list[Any] = []
        for number, level in enumerate(self._levels):
            mine = np.flatnonzero(level_of == number)
            size = self._size(level)
            for at in range(0, len(mine), size):
                places.append(mine[at : at + size])
                parts.append(self._solve_part(answers.take(places[-1]), level, size))
        order = np.argsort(np.concatenate(places))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *parts)

    def _size(self, level: int) -> int:
        """How many users are solved together."""
        return max(1, min(1 << (self._num_users - 1).bit_length(), _PAIRS_AT_A_TIME // level))

    def _solve_part(self, answers: Answers, level: int, size: int) -> Any:
        users, slots = answers.chosen.shape
        width = min(level, slots)
        rows = np.zeros((2, level, size), np.int32)
        rows[0, :width, :users] = answers.chosen[:, :width].T
        rows[1, :width, :users] = answers.rejected[:, :width].T
        weight = np.zeros((level, size), np.float32)
        live = np.arange(width)[:, None] < answers.count
        weight[:width, :users] = np.where(live, self._pair_weight(answers)[:, :width].T, 0.0)
        solved = jax.device_get(self._run(rows[0], rows[1], weight))
        return jax.tree.map(lambda leaf: leaf[:users], solved)

    def _pair_weight(self, answers: Answers) -> np.ndarray:
        """`2^(-age / half_life)`, the age counted from the user's last answer."""
        if self._half_life is None:
            return np.ones(answers.time.shape, np.float32)
        age = np.maximum(answers.last_time()[:, None] - answers.time, 0.0)
        return np.exp2(-age / self._half_life).astype(np.float32)

    def _run(self, chosen: np.ndarray, rejected: np.ndarray, weight: np.ndarray) -> Any:
        model = self._model
        return solve_users(model.prior, model.likelihood, self._along, chosen, rejected, weight)


@jax.jit
def solve_users(
    prior: Prior,
    likelihood: Likelihood,
    along: Array,
    chosen: Array,
    rejected: Array,
    weight: Array,
) -> tuple[Posterior, Components]:
    """Posteriors with users in front, from rows and pair weights `[slots, users]`."""
    pairs = [along.at[rows].get(mode="promise_in_bounds") for rows in (chosen, rejected)]
    features = jnp.moveaxis(pairs[0] - pairs[1], 2, 0)
    solved = prior.solve(features, weight, None, likelihood)
    posterior = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), solved)
    if posterior.covariance is None:
        users, rank = posterior.weights.shape
        posterior = dataclasses.replace(posterior, covariance=jnp.zeros((users, rank, rank)))
    if prior.num_components > 1:
        return posterior, prior.components(features, weight, likelihood)
    return posterior, as_components(posterior.weights, posterior.covariance)
