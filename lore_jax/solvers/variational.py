"""The mean of one user's weights, not their mode: the Gaussian nearest to the posterior.

With few comparisons a posterior is skewed: every answer cuts one side off. Its mode then lies
beside its mean, by up to a standard deviation, and the reply with the highest *expected* reward is
not the one with the highest reward at the mode. Let q = N(m, S) minimise the divergence from the
posterior of `newton.py`,

    F(m, S) = sum_i c_i E[loss(z_i)] + (|m|^2 + tr S - log |S| - k) / 2,
    z_i ~ N(o_i + f_i . m, f_i' S f_i).

By Stein's lemma its gradients are those of Newton's method with the loss averaged over what is not
known of the margin (Opper and Archambeau 2009),

    m + sum_i c_i E[loss'(z_i)] f_i = 0,        S^-1 = I + sum_i c_i E[loss''(z_i)] f_i f_i'.

So a likelihood whose loss, slope and curvature are averages is solved by the same Newton steps, its
variances taken anew before each. An average of self-concordant losses has the same constant, so the
damping of steps holds. Variances go half of their way: where margins are tens of logits, whole ways
were seen to swing between two values for ever.

Under a mixture each component has a q of its own, and -F stands for its log evidence.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.cholesky import inverse
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood
from lore_jax.solvers.mixture import Mixture
from lore_jax.solvers.newton import MapEstimate, NewtonStep, find_mode, newton_step
from lore_jax.solvers.pair_sums import combine, quadratic_form

_NODES, _REACH = 16, 3.5
_MOST_STEPS = 50
_TOLERANCE = 1e-3  # posterior standard deviations


@pytree
class Averaged:
    """A likelihood's expected loss, given the mean of the margin: `E[loss(mean + sd e)]`.

    Attributes:
        likelihood: of the margin itself.
        variance: what is not known of each margin, shaped like the margins.

    Example:
        >>> unsure = Averaged(LOGISTIC, jnp.array(9.0))
        >>> round(float(unsure.slope(jnp.array(-2.0))), 2)  # LOGISTIC: -.88
        -0.72
    """

    likelihood: Likelihood
    variance: Float[Array, "*any"]

    @property
    def concordance(self) -> float | None:
        """That of the likelihood: `|E loss'''| <= E |loss'''| <= M E loss''`."""
        return self.likelihood.concordance

    @property
    def ceiling(self) -> float:
        """That of the likelihood."""
        return self.likelihood.ceiling

    def loss(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """The expected loss."""
        return _over_nodes(self.likelihood.loss(self._drawn(margin)))

    def slope(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """Its derivative, the expected slope."""
        return _over_nodes(self.likelihood.slope(self._drawn(margin)))

    def curvature(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """Its second derivative, the expected curvature."""
        return _over_nodes(self.likelihood.curvature(self._drawn(margin)))

    def predictive(
        self, mean: Float[Array, "*any"], variance: Float[Array, "*any"]
    ) -> Float[Array, "*any"]:
        """The likelihood's, of both variances together."""
        return self.likelihood.predictive(mean, variance + self.variance)

    def _drawn(self, margin: Float[Array, "*any"]) -> Float[Array, "nodes *any"]:
        node = jnp.asarray(_nodes()[0]).reshape(-1, *[1] * margin.ndim)
        return margin[None] + node * jnp.sqrt(self.variance)[None]


def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """Evenly spaced nodes with mean 0 and variance 1, and their weights.

    A margin that varies by many logits sees the loss as a corner, which evenly spaced nodes average
    better than those of Gauss and Hermite: slopes are right to .0005 at a standard deviation of
    five logits (24 of theirs: .002), to .01 at ten.
    """
    node = np.linspace(-_REACH, _REACH, _NODES)
    weight = np.exp(-0.5 * node**2)
    weight /= weight.sum()
    node /= np.sqrt(weight @ node**2)
    return node.astype(np.float32), weight.astype(np.float32)


def _over_nodes(values: Float[Array, "nodes *any"]) -> Float[Array, "*any"]:
    return jnp.tensordot(jnp.asarray(_nodes()[1]), values, 1)


def mean_estimate(
    features: Array,
    offset: Array,
    pair_weight: Array,
    start: Array,
    *,
    likelihood: Likelihood = LOGISTIC,
) -> MapEstimate:
    """Mean and covariance of the Gaussian nearest to a user's posterior.

    Args:
        features: f, differences of the rewards of a pair along k directions, `[k, shots, ...]`.
        offset: o, the population's margins in logits, `[shots, ...]`.
        pair_weight: c, how much a pair counts, 0 for padding, `[shots, ...]`.
        start: where the search for the mode begins, `[k, ...]`.
        likelihood: whose loss.

    Returns:
        As `map_estimate`, with m for the mode and S for the Laplace covariance.

    Example:
        >>> features, zeros = jnp.full((1, 1), 3.0), jnp.zeros(1)
        >>> mean_estimate(features, zeros, jnp.ones(1), zeros).deviation.round(2)  # the mode: 0.52
        Array([0.68], dtype=float32)

    Reference:
        Opper and Archambeau 2009, "The variational Gaussian approximation revisited".
    """
    return _nearest(features, offset, pair_weight, start, likelihood)[0]


def mean_under_mixture(
    features: Array,
    offset: Array,
    pair_weight: Array,
    mixture: Mixture,
    *,
    likelihood: Likelihood = LOGISTIC,
) -> MapEstimate:
    """Mean and covariance of a user's deviation under a mixture, each component's own q mixed.

    Args:
        features: `[k, shots, ...]`.
        offset: `[shots, ...]`.
        pair_weight: `[shots, ...]`.
        mixture: the components.
        likelihood: whose loss.

    Returns:
        As `mixture_estimate`.

    Example:
        >>> one = Mixture(jnp.zeros(1), jnp.zeros((1, 1)), jnp.ones((1, 1, 1)))
        >>> answer = jnp.full((1, 1), 3.0), jnp.zeros(1), jnp.ones(1)
        >>> mean_under_mixture(*answer, one).deviation.round(2)
        Array([0.68], dtype=float32)
    """
    behind = [1] * (features.ndim - 2)
    zeros = jnp.zeros((features.shape[0], *features.shape[2:]))

    def solve(component: tuple[Array, Array, Array]) -> tuple[Array, MapEstimate]:
        log_share, centre, spread = component
        centre = centre.reshape(-1, *behind)
        along = jnp.tensordot(spread.T, features, 1)
        base = offset + combine(features, centre)
        found, bound = _nearest(along, base, pair_weight, zeros, likelihood)
        deviation = centre + jnp.tensordot(spread, found.deviation, 1)
        covariance = jnp.einsum("ia,ab...,jb->ij...", spread, found.covariance, spread)
        found = found._replace(deviation=deviation, covariance=covariance)
        return log_share + bound, found

    evidence, found = jax.lax.map(solve, (mixture.log_share, mixture.centre, mixture.spread))
    share = jax.nn.softmax(evidence, axis=0)
    mean = jnp.sum(share[:, None] * found.deviation, axis=0)
    apart = found.deviation - mean[None]
    second = found.covariance + apart[:, :, None] * apart[:, None]
    used = (mixture.log_share > -jnp.inf).reshape(-1, *behind)
    return MapEstimate(
        mean,
        jnp.sum(share[:, None, None] * second, axis=0),
        jnp.all(found.converged | ~used, axis=0),
        jnp.max(jnp.where(used, found.steps, 0), axis=0),
        jnp.max(jnp.where(used, found.grad_norm, 0.0), axis=0),
    )


class _Search(NamedTuple):
    last: NewtonStep
    variance: Array  # of the margins
    steps: Array
    active: Array


def _nearest(
    features: Array, offset: Array, pair_weight: Array, start: Array, likelihood: Likelihood
) -> tuple[MapEstimate, Array]:
    """`mean_estimate`, and -F."""
    mode, lower = find_mode(
        features, offset, pair_weight, start, likelihood=likelihood, max_steps=50
    )
    if not len(features):
        return mode, -jnp.sum(pair_weight * likelihood.loss(offset), axis=0)

    def not_done(state: _Search) -> Array:
        return jnp.any(state.active)

    def step(state: _Search) -> _Search:
        at = state.last
        known = Averaged(likelihood, state.variance)
        newton = newton_step(features, offset, pair_weight, at.deviation, likelihood=known)
        after = quadratic_form(features, inverse(newton.lower))
        variance = 0.5 * (state.variance + after)
        steps = state.steps + state.active
        going = state.active & (newton.decrement > _TOLERANCE) & (steps < _MOST_STEPS)
        last = jax.tree.map(functools.partial(jnp.where, state.active), newton, at)
        return _Search(last, jnp.where(state.active, variance, state.variance), steps, going)

    nothing = jnp.zeros_like(mode.grad_norm)
    begin = NewtonStep(mode.deviation, lower, nothing, nothing, nothing)
    variance = quadratic_form(features, mode.covariance)
    active = jnp.any(pair_weight > 0, axis=0) | (nothing > 0)
    search = _Search(begin, variance, mode.steps, active)
    search = jax.lax.while_loop(not_done, step, search)
    last = search.last
    mean, covariance = last.deviation, inverse(last.lower)
    known = Averaged(likelihood, quadratic_form(features, covariance))
    loss = known.loss(offset + combine(features, mean))
    diagonal = jnp.diagonal(last.lower, axis1=0, axis2=1)
    size = jnp.sum(mean**2, axis=0) + jnp.trace(covariance) + 2.0 * jnp.sum(jnp.log(diagonal), -1)
    bound = jnp.sum(pair_weight * loss, axis=0) + 0.5 * (size - len(features))
    converged = mode.converged & (last.decrement <= _TOLERANCE)
    return MapEstimate(mean, covariance, converged, search.steps, last.grad_norm), -bound
