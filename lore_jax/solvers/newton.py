"""One user's weights under a Gaussian prior: Newton's method, and the Laplace posterior.

With the basis frozen, a user's margins are `z_i = o_i + f_i . d`, where o is what the population
says and `d ~ N(0, I)` the user's deviation from it. The negative log posterior

    phi(d) = sum_i c_i loss(z_i) + |d|^2 / 2

is convex, its Hessian `sum_i c_i loss''(z_i) f_i f_i' + I` at least the identity: Newton's
direction always exists. The loss is a `Likelihood`'s, by default `log(1 + exp(-z))`.

Step length. The full step is taken wherever it is sure to decrease phi: if phi still falls at its
end, for then, being convex, it fell all the way. Otherwise the likelihood says how much of it is
sure to (`likelihood.step_length`). Slopes decide, not losses: differences of float32 losses stall
long before the gradient does.

Stopping. The Newton decrement `sqrt(g' H^-1 g)` is the distance to the mode in posterior standard
deviations, whatever the scale of the features, so one tolerance serves everybody.

Where the likelihood is self-concordant, a step that changes no margin by more than rho changes the
Hessian by a part of rho at most, and leaves a gradient that is such a part of the one before. Where
rho is below a thousandth, and rho times the decrement is small enough, the step has arrived:
nothing is evaluated again, and the covariance is that of where it started, the same to a
thousandth.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lore_jax.solvers.cholesky import cholesky, inverse, solve
from lore_jax.solvers.likelihood import (
    LOGISTIC,
    Likelihood,
    largest_move,
    newton_sums,
    step_length,
)
from lore_jax.solvers.pair_sums import combine

# Newton decrements, in posterior standard deviations:
_REACHED = 1e-4  # the mode
_TOLERANCE = 1e-3  # what float32 leaves where features are huge
_TINY = 1e-30


class MapEstimate(NamedTuple):
    """Where Newton's method arrived; every field has the users, if any, in its trailing axes.

    Attributes:
        deviation: the mode of d, `[k, ...]`.
        covariance: the Laplace covariance of d, `[k, k, ...]`.
        converged: whether the mode is reached to a thousandth of a posterior standard deviation,
            `[...]`.
        steps: how many Newton steps were taken, int32 `[...]`.
        grad_norm: Euclidean norm of the gradient of phi at `deviation`, or an upper bound of it,
            `[...]`.
    """

    deviation: jax.Array
    covariance: jax.Array
    converged: jax.Array
    steps: jax.Array
    grad_norm: jax.Array


def map_estimate(
    features: jax.Array,
    offset: jax.Array,
    pair_weight: jax.Array,
    start: jax.Array,
    *,
    likelihood: Likelihood = LOGISTIC,
    max_steps: int = 50,
) -> MapEstimate:
    """The mode and Laplace covariance of a user's deviation given comparisons.

    `argmin_d sum_i c_i loss(o_i + f_i . d) + |d|^2 / 2`

    Args:
        features: f, differences of the rewards of a pair along k directions, `[k, shots, ...]`.
        offset: o, the population's margins in logits, `[shots, ...]`.
        pair_weight: c, how much a pair counts, 0 for padding, `[shots, ...]`.
        start: where to begin, `[k, ...]`; zeros, or an earlier mode after a few more shots.
        likelihood: whose loss.
        max_steps: the most steps to take.

    Returns:
        A `MapEstimate`; with users in a trailing axis, one estimate a user. Never raises: see its
        `converged`.

    Example:
        >>> one = map_estimate(jnp.ones((1, 5)), jnp.zeros(5), jnp.ones(5), jnp.zeros(1))
        >>> bool(one.converged)
        True

    Reference:
        MacKay 1992, "The evidence framework applied to classification networks" (Laplace
        approximation).
    """
    return find_mode(
        features, offset, pair_weight, start, likelihood=likelihood, max_steps=max_steps
    )[0]


def find_mode(
    features: jax.Array,
    offset: jax.Array,
    pair_weight: jax.Array,
    start: jax.Array,
    *,
    likelihood: Likelihood,
    max_steps: int,
) -> tuple[MapEstimate, jax.Array]:
    """`map_estimate`, and the Cholesky factor of the Hessian, `[k, k, ...]`."""
    k, users = features.shape[0], features.shape[2:]
    if k == 0:
        nothing, none = jnp.zeros(users), jnp.zeros((0, 0, *users))
        return MapEstimate(start, none, nothing == 0, nothing.astype(jnp.int32), nothing), none

    def not_done(state: _Search) -> jax.Array:
        return jnp.any(state.active)

    def step(state: _Search) -> _Search:
        newton = newton_step(features, offset, pair_weight, state.deviation, likelihood=likelihood)
        # Near the mode the decrement falls quadratically until rounding stops it; then there is
        # nothing left to gain.
        stalled = (newton.decrement <= _TOLERANCE) & (newton.decrement > 0.5 * state.last.decrement)
        going = state.active & (newton.decrement > _REACHED) & ~stalled & (state.steps < max_steps)
        lost = jnp.isnan(newton.decrement)  # a NaN stays visible
        moved = jnp.where(going | lost, newton.deviation, state.deviation)
        arrives = going & (newton.rho <= _TOLERANCE) & (newton.rho * newton.decrement <= _REACHED)
        left = jnp.where(arrives, newton.rho, 1.0)  # the part of it, at most, that this step leaves
        newton = newton._replace(
            decrement=left * newton.decrement, grad_norm=left * newton.grad_norm
        )
        last = jax.tree.map(functools.partial(jnp.where, state.active), newton, state.last)
        return _Search(moved, state.steps + going, going & ~arrives, last)

    # Every user is stepped until the slowest of the chunk is done; `active` freezes the others, so
    # that a user's answer does not depend on who shares the chunk.
    evidence = jnp.broadcast_to(jnp.sum(pair_weight, axis=0) > 0, users)
    start = jnp.where(evidence, start, 0.0)  # without any evidence the mode is the population
    shape = NewtonStep(start, jnp.zeros((k, k, *users)), *[jnp.full(users, jnp.inf)] * 3)
    search = jax.lax.while_loop(
        not_done, step, _Search(start, jnp.zeros(users, jnp.int32), evidence | True, shape)
    )
    last = search.last
    found = MapEstimate(
        search.deviation,
        inverse(last.lower),
        last.decrement <= _TOLERANCE,
        search.steps,
        last.grad_norm,
    )
    return found, last.lower


class NewtonStep(NamedTuple):
    """A step and what is known where it starts; users, if any, in trailing axes.

    Attributes:
        deviation: where the step leads, `[k, ...]`.
        lower: Cholesky factor of the Hessian where it starts, `[k, k, ...]`.
        decrement: Newton decrement there, `[...]`.
        grad_norm: norm of the gradient there, `[...]`.
        rho: the part of the Hessian, at most, that a full step changes, `[...]`.
    """

    deviation: jax.Array
    lower: jax.Array
    decrement: jax.Array
    grad_norm: jax.Array
    rho: jax.Array


class _Search(NamedTuple):
    deviation: jax.Array
    steps: jax.Array
    active: jax.Array
    last: NewtonStep


def newton_step(
    features: jax.Array,
    offset: jax.Array,
    pair_weight: jax.Array,
    deviation: jax.Array,
    *,
    likelihood: Likelihood = LOGISTIC,
) -> NewtonStep:
    """One damped Newton step; the arguments are those of `map_estimate`.

    Args:
        features: `[k, shots, ...]`.
        offset: `[shots, ...]`.
        pair_weight: `[shots, ...]`.
        deviation: where to step from, `[k, ...]`.
        likelihood: whose loss.

    Returns:
        The step.
    """
    margin = offset + combine(features, deviation)
    towards, curvature = newton_sums(likelihood, features, margin, pair_weight)
    gradient = deviation - towards
    k = len(features)
    lower = cholesky(
        jnp.eye(k).reshape(k, k, *[1] * (features.ndim - 2)) + curvature,
        least=jnp.ones_like(deviation),
    )
    direction = -solve(lower, gradient)
    along = combine(features, direction)
    move = jnp.maximum(largest_move(likelihood, along * (pair_weight > 0)), 1e-6)

    def slope(share: jax.Array | float) -> jax.Array:
        after = deviation + share * direction
        pull = -pair_weight * likelihood.slope(margin + share * along)
        return jnp.sum(after * direction, axis=0) - jnp.sum(pull * along, axis=0)

    squared = jnp.maximum(-jnp.sum(gradient * direction, axis=0), 0.0)
    parabola = likelihood.ceiling * jnp.sum(pair_weight * along**2, axis=0)
    safe = squared / jnp.maximum(parabola + jnp.sum(direction**2, axis=0), _TINY)
    surely = step_length(
        likelihood, move, safe, lambda share: slope(share[None]) / jnp.maximum(squared, _TINY)
    )
    length = jnp.where(slope(1.0) <= 0, 1.0, surely)
    grad_norm = jnp.sqrt(jnp.sum(gradient**2, axis=0))
    rho = jnp.inf * move if likelihood.concordance is None else likelihood.concordance * move
    return NewtonStep(
        deviation + direction * length[None], lower, jnp.sqrt(squared), grad_norm, rho
    )
