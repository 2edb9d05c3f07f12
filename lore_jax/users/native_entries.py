"""Users solved for from answers of any kind by the compiled library, where it knows the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import AnswerModel, num_entries, places_of
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import GaussianPrior, Prior
from lore_jax.solvers.native.library import MOST_ITEMS, Results, Said, adapt_entries, load
from lore_jax.solvers.ordinal import cumulative_logit
from lore_jax.users.entries import Entries

Solver: TypeAlias = Callable[[Entries], Posterior]


def native_solver(
    prior: Prior, answers: AnswerModel, table: Float[jax.Array, "rows columns"]
) -> Solver | None:
    """What solves users by the compiled library; None where XLA has to.

    Args:
        prior: of the weights and the intercept.
        answers: how people answer.
        table: rewards along the prior's directions.

    Returns:
        A function of entries that it `can_solve`; threads may call it side by side. None under
        other priors than a Gaussian, with lapses, on accelerators, and where the library was not
        built.
    """
    on_cpu = all(device.platform == "cpu" for device in table.devices())
    # A mixture is a Gaussian prior as well, but is solved otherwise.
    if type(prior) is not GaussianPrior or answers.lapse or not (on_cpu and load()):
        return None
    rewards, mean, factor = (
        np.ascontiguousarray(array, np.float32) for array in (table, prior.mean, prior.factor)
    )
    if not factor.shape[1]:
        return None
    how = HowSaid(answers)

    def solve(entries: Entries) -> Posterior:
        users, rank = entries.weight.shape[1], len(mean)
        out = Results(
            np.empty((users, rank), np.float32),
            np.empty((users, rank, rank), np.float32),
            np.empty(users, np.int32),
            np.empty(users, bool),
            np.empty(users, np.int32),
            np.empty(users, np.float32),
        )
        for rows in (entries.first, entries.second):  # nothing else is between a row and memory
            if rows.size and not 0 <= rows.min() <= rows.max() < len(rewards):
                raise ValueError(
                    f"answers name rows {rows.min():,} to {rows.max():,} of {len(rewards) - 1:,} "
                    "responses"
                )
        adapt_entries(rewards, how.said(entries), mean, factor, out)
        return Posterior(*out)

    return solve


def can_solve(entries: Entries) -> bool:
    """Whether the library solves such entries: rankings by neighbours, of up to 64 responses."""
    return entries.neighbours and all(
        kind.levels or kind.num_items <= MOST_ITEMS for kind in entries.kinds
    )


class HowSaid:
    """How people answer, as the library reads it.

    Args:
        answers: how they do, without lapses.
    """

    def __init__(self, answers: AnswerModel) -> None:
        self._answers = answers
        self._bounds: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def said(self, entries: Entries) -> Said:
        """What the library reads of entries that it `can_solve`."""
        shape = entries.weight.shape
        lower, upper = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        stretches, log_nu, at = [], [], 0
        for kind, outcome in zip(entries.kinds, entries.outcome, strict=True):
            size = len(outcome) * num_entries(kind, neighbours=True)
            own, says, ranking, nu = slice(at, at + size), 0, (0, 0, 0), 0.0
            if not kind.levels:
                says, ranking = 3, places_of(kind)
            elif kind.name == "tie" and self._answers.ties == "davidson":
                says, lower[own], nu = 2, outcome - 1, float(self._answers.free[kind.scale][0])
            elif kind.name != "pair":
                below, above = self._levels(kind)
                says, lower[own], upper[own] = 1, below[outcome], above[outcome]
            stretches.append((says, size, *ranking))
            log_nu.append(nu)
            at += size
        return Said(
            np.ascontiguousarray(entries.first, np.int32),
            np.ascontiguousarray(entries.second, np.int32),
            np.ascontiguousarray(entries.weight, np.float32),
            lower,
            upper,
            np.array(stretches, np.int32).reshape(-1, 5),
            np.array(log_nu, np.float32),
        )

    def _levels(self, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
        """The cut points below and above each level of a scale."""
        if kind.scale not in self._bounds:
            each = cumulative_logit(jnp.arange(kind.levels), self._answers.cuts(kind.scale))
            self._bounds[kind.scale] = np.asarray(each.lower), np.asarray(each.upper)
        return self._bounds[kind.scale]
