"""Users solved for from the entries of their answers, intercepts of ratings among the weights."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import AnswerModel
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import GaussianPrior, MixturePrior, Prior
from lore_jax.solvers.mixture import Mixture
from lore_jax.users.adapt import differences
from lore_jax.users.entries import Entries, segments
from lore_jax.users.native_entries import Solver, can_solve, native_solver


class AnswerSolver:
    """Solves for users of one model from their answers over one table.

    Args:
        prior: of a fitted model, Gaussian or a mixture.
        answers: how people answer.
        table: the model's rewards of the responses (`table_of_rewards`).
        with_intercept: whether users have intercepts, as where some rate.

    Raises:
        ValueError: users have intercepts, and the prior is not Gaussian.
    """

    def __init__(
        self,
        prior: Prior,
        answers: AnswerModel,
        table: Float[Array, "responses rank"],
        *,
        with_intercept: bool,
    ) -> None:
        self.prior = _with_intercept(prior, answers.intercept) if with_intercept else prior
        self.neighbours = isinstance(prior, GaussianPrior) and not answers.lapse
        self.table = _projected(self.prior, table, with_intercept)
        self.answers = answers

    @functools.cached_property
    def _native(self) -> Solver | None:
        # Not with the rest, for programs that are traced make solvers too.
        return native_solver(self.prior, self.answers, self.table)

    def solve(self, entries: Entries) -> Posterior:
        """The posterior of the users of some entries, on the host; the intercept stands last.

        Args:
            entries: laid out as `neighbours` says.
        """
        if self._native is not None and can_solve(entries):
            return self._native(entries)
        features = differences(self.table, entries.first, entries.second)
        said = entries.kinds, entries.neighbours, entries.outcome, features, entries.weight
        return jax.device_get(_solve(self.prior, self.answers, *said))


def _with_intercept(prior: object, spread: Array) -> GaussianPrior:
    """The prior of weights and, last, of the intercept."""
    if not isinstance(prior, GaussianPrior):
        got = f"the model has a {type(prior).__name__}"
        raise ValueError(f"{got}: ratings need a GaussianPrior, for users have intercepts")
    # On the host: a few numbers, for which no program has to be compiled.
    rank, k = prior.factor.shape
    factor = np.zeros((rank + 1, k + 1), np.float32)
    factor[:rank, :k], factor[rank, k] = prior.factor, spread
    mean = np.append(np.asarray(prior.mean), np.float32(0.0))
    if not isinstance(prior, MixturePrior):
        return GaussianPrior(jnp.asarray(mean), jnp.asarray(factor))
    inside, slots = prior.mixture, len(prior.mixture.log_share)
    wider = np.zeros((slots, k + 1, k + 1), np.float32)
    wider[:, :k, :k], wider[:, k, k] = inside.spread, 1.0
    centre = np.zeros((slots, k + 1), np.float32)
    centre[:, :k] = inside.centre
    mixture = Mixture(inside.log_share, jnp.asarray(centre), jnp.asarray(wider))
    return MixturePrior(jnp.asarray(mean), jnp.asarray(factor), mixture)


@functools.partial(jax.jit, static_argnames="with_intercept")
def _projected(
    prior: GaussianPrior, table: Float[Array, "responses rank"], with_intercept: bool
) -> Float[Array, "rows columns"]:
    """The projected table, and a row of zeros behind it."""
    if with_intercept:
        table = jnp.pad(table, ((0, 0), (0, 1)), constant_values=1.0)
    return prior.project(jnp.pad(table, ((0, 1), (0, 0))))


def solve_entries(
    prior: Prior,
    answers: AnswerModel,
    kinds: tuple[Kind, ...],
    neighbours: bool,
    outcome: tuple[Int[Array | np.ndarray, "_answers users"], ...],
    features: Float[Array, "columns entries users"],
    weight: Float[Array | np.ndarray, "entries users"],
) -> Posterior:
    """The posterior of users, who stand in front; with lapses, from the mode without any.

    Args:
        prior: with the intercept, if there is one.
        answers: how people answer.
        kinds: of each stretch of entries.
        neighbours: whether of rankings only neighbours are entries.
        outcome: the levels of each stretch.
        features: projected differences of rewards.
        weight: how much an entry counts, 0 for padding.

    Returns:
        The posterior.
    """

    def solve(answers: AnswerModel, start: Array | None) -> Posterior:
        likelihood = segments(answers, kinds, outcome, neighbours=neighbours)
        return prior.solve(features, jnp.asarray(weight), start, likelihood)

    solved = solve(dataclasses.replace(answers, lapse=0.0), None)
    if answers.lapse:
        solved = solve(answers, jnp.asarray(solved.weights))
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), solved)


_solve = jax.jit(solve_entries, static_argnames=("kinds", "neighbours"))
