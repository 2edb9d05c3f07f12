"""Adapting by the compiled solvers, where they were built and know the model: on CPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Int

from lore_jax.data.preferences import Preferences
from lore_jax.model.model import Model
from lore_jax.model.posterior import POSTERIOR_ARRAYS, Posterior
from lore_jax.model.prior import GaussianPrior, SimplexPrior
from lore_jax.solvers.likelihood import Logistic
from lore_jax.solvers.native.library import (
    Answers,
    Results,
    Users,
    adapt_gaussian,
    adapt_simplex,
    load,
)

Rows: TypeAlias = Int[np.ndarray, " users"]
Solver: TypeAlias = Callable[[Rows, Rows, Rows], None]


def native_solver(
    model: Model, table: jax.Array, prefs: Preferences, out: Posterior
) -> Solver | None:
    """What solves users by the compiled library; None where XLA has to.

    Args:
        model: whose prior and likelihood count.
        table: rewards along the prior's directions (`adapt.project`).
        prefs: the answers.
        out: arrays on the host, where the posteriors go.

    Returns:
        A function of users, each one's first pair, and how many pairs; threads may call it side by
        side. None under other priors than a `GaussianPrior` or a `SimplexPrior` itself and other
        likelihoods than Bradley-Terry's, on accelerators, and where the library was not built.

    Raises:
        ValueError: a pair names a response that the table does not have.
    """
    prior = model.prior
    factor: np.ndarray | None = None
    # A prior made of one of these is solved otherwise: a mixture, inner steps.
    if type(prior) is GaussianPrior:
        factor = _laid_out(prior.factor, np.float32)
        known = factor.shape[1] > 0
    else:
        known = type(prior) is SimplexPrior
    on_cpu = all(device.platform == "cpu" for device in table.devices())
    if not (known and on_cpu and type(model.likelihood) is Logistic and load()):
        return None
    answers = Answers(
        _laid_out(table, np.float32),
        _laid_out(prefs.chosen, np.int32),
        _laid_out(prefs.rejected, np.int32),
        np.asarray(prefs.pair_weight, np.float32),
    )
    for side in (answers.chosen, answers.rejected):  # nothing else is between a row and memory
        if len(side) and not 0 <= side.min() <= side.max() < len(answers.table):
            raise ValueError(
                f"pairs name rows {side.min():,} to {side.max():,} of {len(answers.table):,} "
                "responses whose rewards are given"
            )
    results = Results(*(getattr(out, name) for name in POSTERIOR_ARRAYS))
    mean = _laid_out(prior.mean, np.float32)

    def solve(users: Rows, first: Rows, count: Rows) -> None:
        order = np.argsort(count, kind="stable")  # eight cost what the longest of them costs
        some = Users(*(_laid_out(rows[order], np.int32) for rows in (users, first, count)))
        if factor is None:
            adapt_simplex(answers, some, mean, results)
        else:
            adapt_gaussian(answers, some, mean, factor, results)

    return solve


def _laid_out(array: jax.Array | np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    return np.ascontiguousarray(array, dtype)
