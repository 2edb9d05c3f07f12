"""A mixture as the prior of users' deviations, and one user's posterior under it.

    p(d) = sum_c share_c N(d; centre_c, spread_c spread_c')

Where people fall into components, one Gaussian puts most of its mass between them, where nobody is;
with few shots that is where it leaves users. Given comparisons, each component has a posterior of
its own, found by Newton's method exactly as for a single Gaussian (`d = centre + spread e`, `e ~
N(0, I)`), and a Laplace evidence

    log Z_c = -phi_c(e_c) - log |L_c|,          L_c L_c' the Hessian of phi_c at its mode e_c,

and the posterior is their mixture with weights proportional to `share_c Z_c`. It is handed on by
its mean and covariance, so whoever predicts need not know of components.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.cholesky import inverse, solve
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood
from lore_jax.solvers.newton import MapEstimate, find_mode, newton_step
from lore_jax.solvers.pair_sums import combine


@pytree
class Mixture:
    """Components of users; those out of use have the share 0.

    Attributes:
        log_share: logarithm of each component's share of the users, `[components]`; components out
            of use come last, at -inf.
        centre: mean deviation in each component, `[components, k]`.
        spread: lower Cholesky factor of the covariance inside each component, `[components, k, k]`.
    """

    log_share: jax.Array
    centre: jax.Array
    spread: jax.Array

    @property
    def in_use(self) -> jax.Array:
        """The number of components in use, int32."""
        return jnp.sum(self.log_share > -jnp.inf, dtype=jnp.int32)

    def moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean `[k]` and covariance `[k, k]` of all users together."""
        share = jnp.exp(self.log_share)
        mean = share @ self.centre
        away = self.centre - mean[None]
        inside = jnp.einsum("c,cij,ckj->ik", share, self.spread, self.spread)
        return mean, inside + jnp.einsum("c,ci,ck->ik", share, away, away)


class ComponentPosteriors(NamedTuple):
    """A user's posterior under each component; users, if any, in trailing axes.

    Attributes:
        log_share: log probability of each component given the comparisons, `[components, ...]`;
            -inf where a component is out of use.
        deviation: the mode of d in each component, `[components, k, ...]`.
        covariance: Laplace covariance of d, `[components, k, k, ...]`.
    """

    log_share: jax.Array
    deviation: jax.Array
    covariance: jax.Array


class ComponentStep(NamedTuple):
    """A user's posterior under one component, one Newton step on; users, if any, in trailing axes.

    Attributes:
        deviation: where the step leads, `[k, ...]`.
        covariance: Laplace covariance of d, `[k, k, ...]`.
        log_evidence: of the user's comparisons under this component, `[...]`.
    """

    deviation: jax.Array
    covariance: jax.Array
    log_evidence: jax.Array


def one_component(k: int, slots: int = 1) -> Mixture:
    """Everybody in the first component, `d ~ N(0, I)`; further slots are out of use."""
    log_share = jnp.full(slots, -jnp.inf).at[0].set(0.0)
    return Mixture(log_share, jnp.zeros((slots, k)), jnp.broadcast_to(jnp.eye(k), (slots, k, k)))


def mixture_estimate(
    features: jax.Array,
    offset: jax.Array,
    pair_weight: jax.Array,
    mixture: Mixture,
    start: jax.Array | None = None,
    *,
    likelihood: Likelihood = LOGISTIC,
    max_steps: int = 50,
) -> MapEstimate:
    """Mean and covariance of a user's deviation given comparisons, under a mixture.

    Args:
        features: f, differences of the rewards of a pair along k directions, `[k, shots, ...]`.
        offset: the population's margins in logits, `[shots, ...]`.
        pair_weight: how much a pair counts, 0 for padding, `[shots, ...]`.
        mixture: the components.
        start: where to begin in every component, `[k, ...]`; None: at its centre.
        likelihood: whose loss.
        max_steps: the most Newton steps to take in each component.

    Returns:
        A `MapEstimate` whose `deviation` is the posterior mean over all components and whose
        `covariance` holds what is not known inside components and of the component. `converged`: in
        every component; `steps`, `grad_norm`: the largest of any component.

    Example:
        >>> features, mixture = jnp.ones((1, 5)), one_component(1)
        >>> mixture_estimate(features, jnp.zeros(5), jnp.ones(5), mixture).deviation.round(2)
        Array([1.18], dtype=float32)
    """
    k, users = features.shape[0], features.shape[2:]

    def add(
        component: jax.Array, state: tuple[jax.Array, MapEstimate]
    ) -> tuple[jax.Array, MapEstimate]:
        # The mixture of the components so far and one more is again a mean and a covariance: no
        # component need be kept.
        so_far, known = state
        estimate, evidence = _solve_component(
            features, offset, pair_weight, mixture, component, start, likelihood, max_steps
        )
        both = jnp.logaddexp(so_far, evidence)
        share = jnp.exp(evidence - both)[None]
        apart = estimate.deviation - known.deviation
        inside = (1.0 - share[None]) * known.covariance + share[None] * estimate.covariance
        between = (share * (1.0 - share))[None] * apart[:, None] * apart[None]
        return both, MapEstimate(
            known.deviation + share * apart,
            inside + between,
            known.converged & estimate.converged,
            jnp.maximum(known.steps, estimate.steps),
            jnp.maximum(known.grad_norm, estimate.grad_norm),
        )

    nothing = MapEstimate(
        jnp.zeros((k, *users)),
        jnp.zeros((k, k, *users)),
        jnp.ones(users, bool),
        jnp.zeros(users, jnp.int32),
        jnp.zeros(users),
    )
    return jax.lax.fori_loop(0, mixture.in_use, add, (jnp.full(users, -jnp.inf), nothing))[1]


def component_posteriors(
    features: jax.Array,
    offset: jax.Array,
    pair_weight: jax.Array,
    mixture: Mixture,
    *,
    likelihood: Likelihood = LOGISTIC,
    max_steps: int = 50,
) -> ComponentPosteriors:
    """A user's posterior given comparisons, component by component; see `mixture_estimate`.

    Args:
        features: `[k, shots, ...]`.
        offset: `[shots, ...]`.
        pair_weight: `[shots, ...]`.
        mixture: the components.
        likelihood: whose loss.
        max_steps: the most Newton steps to take in each component.

    Returns:
        The posteriors, with the probability of each component.

    Example:
        >>> features, mixture = jnp.ones((1, 5)), one_component(1, slots=2)
        >>> component_posteriors(features, jnp.zeros(5), jnp.ones(5), mixture).log_share
        Array([  0., -inf], dtype=float32)
    """

    def solve_one(component: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        estimate, evidence = _solve_component(
            features, offset, pair_weight, mixture, component, None, likelihood, max_steps
        )
        return evidence, estimate.deviation, estimate.covariance

    evidence, *moments = jax.lax.map(solve_one, jnp.arange(len(mixture.log_share)))
    return ComponentPosteriors(jax.nn.log_softmax(evidence, axis=0), *moments)


def component_step(
    features: jax.Array,
    offset: jax.Array,
    pair_weight: jax.Array,
    mixture: Mixture,
    component: jax.Array,
    deviation: jax.Array,
    *,
    likelihood: Likelihood = LOGISTIC,
) -> ComponentStep:
    """One Newton step towards a user's mode under one component; arguments as `mixture_estimate`.

    It starts at `deviation [k, ...]`. The evidence is that of the step's end by the quadratic model
    there is at its start: near the mode it is exact.
    """
    spread, centre = mixture.spread[component], mixture.centre[component]
    along, base = _in_component(features, offset, mixture, component)
    start = _whitened(deviation, centre, spread)
    step = newton_step(along, base, pair_weight, start, likelihood=likelihood)
    covariance = inverse(step.lower)
    evidence = (
        0.5 * step.decrement**2
        - _objective(along, base, pair_weight, start, likelihood)
        - _log_diagonal(step.lower)
    )
    return ComponentStep(*_from_component(step.deviation, covariance, centre, spread), evidence)


def _solve_component(
    features: jax.Array,
    offset: jax.Array,
    pair_weight: jax.Array,
    mixture: Mixture,
    component: jax.Array,
    start: jax.Array | None,
    likelihood: Likelihood,
    max_steps: int,
) -> tuple[MapEstimate, jax.Array]:
    """Mode and covariance of d under one component, and the log evidence with its share."""
    centre, spread = mixture.centre[component], mixture.spread[component]
    along, base = _in_component(features, offset, mixture, component)
    zeros = jnp.zeros((features.shape[0], *features.shape[2:]))
    begin = zeros if start is None else _whitened(start, centre, spread)
    estimate, lower = find_mode(
        along, base, pair_weight, begin, likelihood=likelihood, max_steps=max_steps
    )
    evidence = (
        mixture.log_share[component]
        - _log_diagonal(lower)
        - _objective(along, base, pair_weight, estimate.deviation, likelihood)
    )
    deviation, covariance = _from_component(estimate.deviation, estimate.covariance, centre, spread)
    return estimate._replace(deviation=deviation, covariance=covariance), evidence


def _in_component(
    features: jax.Array, offset: jax.Array, mixture: Mixture, component: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Features and offset of `e ~ N(0, I)`, where `d = centre + spread e`."""
    centre = mixture.centre[component].reshape(-1, *[1] * (features.ndim - 2))
    return jnp.tensordot(mixture.spread[component].T, features, 1), offset + combine(
        features, centre
    )


def _whitened(deviation: jax.Array, centre: jax.Array, spread: jax.Array) -> jax.Array:
    """The e of a deviation, `[k, ...]`: `L^-1 x = L' (L L')^-1 x`."""
    behind = [1] * (deviation.ndim - 1)
    away = deviation - centre.reshape(-1, *behind)
    return jnp.tensordot(spread.T, solve(spread.reshape(*spread.shape, *behind), away), 1)


def _from_component(
    deviation: jax.Array, covariance: jax.Array, centre: jax.Array, spread: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean and covariance of d from those of e."""
    moved = centre.reshape(-1, *[1] * (deviation.ndim - 1)) + jnp.tensordot(spread, deviation, 1)
    return moved, jnp.einsum("ia,ab...,jb->ij...", spread, covariance, spread)


def _objective(
    features: jax.Array,
    offset: jax.Array,
    pair_weight: jax.Array,
    deviation: jax.Array,
    likelihood: Likelihood,
) -> jax.Array:
    loss = jnp.sum(pair_weight * likelihood.loss(offset + combine(features, deviation)), axis=0)
    return loss + 0.5 * jnp.sum(deviation**2, axis=0)


def _log_diagonal(lower: jax.Array) -> jax.Array:
    """`log |L|` of triangular `[k, k, ...]`."""
    return jnp.sum(jnp.log(jnp.diagonal(lower, axis1=0, axis2=1)), axis=-1)
