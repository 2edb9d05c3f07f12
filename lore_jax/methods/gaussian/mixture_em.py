"""A mixture as the prior of users' deviations, learned by EM with the basis fixed.

E step, for every user u and component c: mode, covariance and evidence of u's deviation under c
(one Newton step from the last mode, `mixture.component_step`), and the responsibilities `r_uc`
proportional to `share_c Z_uc`.

M step, with `n_c = sum_u r_uc`:

    share_c  = (n_c + 1) / (users + components)
    centre_c = sum_u r_uc d_uc / n_c
    cov_c    = (scatter_c + 10 pooled) / (n_c + 10)
    scatter_c = sum_u r_uc ((d_uc - centre_c)(...)' + S_uc),

where pooled, the mean covariance over all components, is what a component of few users is drawn to.

Components come by halving: all users are one component. Then each is split in two along its longest
axis, half the variance along it going between the two, and EM goes on. Nothing is drawn at random,
the numbers 1, 2, 4, 8 are passed on the way, and each is a candidate for validation to choose from.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.model.prior import GaussianPrior, MixturePrior
from lore_jax.parallel.devices import total
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood
from lore_jax.solvers.mixture import Mixture, component_step, one_component

_STEPS = 15  # of EM between two splits
_POOLED_USERS = 10.0  # what the pooled covariance counts beside a component's own users
_LEAST_VARIANCE = 1e-6
_POWER_STEPS = 20

_Modes = tuple[Array, ...]  # of each bucket, [components, k, users]


def learn_mixture(
    features: Sequence[Float[Array, "rank _shots _users"]],
    pair_weights: Sequence[Float[Array, "_shots _users"]],
    splits: int,
    *,
    likelihood: Likelihood = LOGISTIC,
) -> Mixture:
    """Mixtures of 1, 2, 4, ... components, in concert with the other shards.

    Args:
        features: differences of rewards of each bucket's pairs, `[rank, shots, users]`; column 0 is
            the population's.
        pair_weights: how much each pair counts, `[shots, users]`; users without any do not count.
        splits: how many times components are split.
        likelihood: whose loss.

    Returns:
        A `Mixture` with a leading axis of `splits + 1`: 1, 2, 4, ... components in use of
        `2^splits`.

    Reference:
        Linde, Buzo and Gray 1980, "An algorithm for vector quantizer design" (splitting); Fraley
        and Raftery 2007, "Bayesian regularization for normal mixture estimation" (the drawn
        covariance).
    """
    k, slots = len(features[0]) - 1, 2**splits
    modes = tuple(jnp.zeros((slots, k, bucket.shape[-1])) for bucket in features)

    def em(state: tuple[Mixture, _Modes], _: None) -> tuple[tuple[Mixture, _Modes], None]:
        return _em_step(*state, features, pair_weights, likelihood), None

    def level(
        state: tuple[Mixture, _Modes], number: Array
    ) -> tuple[tuple[Mixture, _Modes], Mixture]:
        halved = _split(*state)
        state = jax.tree.map(lambda one, two: jnp.where(number > 0, two, one), state, halved)
        state, _ = jax.lax.scan(em, state, length=_STEPS)
        return state, state[0]

    start = one_component(k, slots), modes
    return jax.lax.scan(level, start, jnp.arange(splits + 1))[1]


def level_of(mixtures: Mixture, count: int) -> Mixture:
    """Of what `learn_mixture` returns, the mixture of 1, 2, 4, ... components."""
    return jax.tree.map(lambda leaf: leaf[count.bit_length() - 1], mixtures)


def standardised(prior: GaussianPrior, learned: Mixture) -> MixturePrior:
    """A mixture as prior, in coordinates in which all users have mean 0 and covariance I."""
    mixture = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), learned)
    mean, covariance = (np.asarray(moment) for moment in mixture.moments())
    root = np.linalg.cholesky(covariance)
    mixture = Mixture(
        mixture.log_share,
        np.linalg.solve(root, (mixture.centre - mean).T).T,
        np.linalg.solve(root, mixture.spread),
    )
    factor = np.asarray(prior.factor, np.float64)
    return MixturePrior(
        prior.mean + jnp.asarray(factor @ mean, jnp.float32),
        jnp.asarray(factor @ root, jnp.float32),
        jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), mixture),
    )


def _em_step(
    mixture: Mixture,
    modes: _Modes,
    features: Sequence[Array],
    pair_weights: Sequence[Array],
    likelihood: Likelihood,
) -> tuple[Mixture, _Modes]:
    slots, k = mixture.centre.shape
    count, first, second = jnp.zeros(slots), jnp.zeros((slots, k)), jnp.zeros((slots, k, k))
    moved = []
    for bucket, pair_weight, mode in zip(features, pair_weights, modes, strict=True):
        mode, covariance, evidence = _e_step(mixture, mode, bucket, pair_weight, likelihood)
        has_pairs = jnp.any(pair_weight > 0, axis=0)
        share = jax.nn.softmax(mixture.log_share[:, None] + evidence, axis=0) * has_pairs[None]
        away = mode - mixture.centre[:, :, None]
        count += jnp.sum(share, axis=1)
        first += jnp.einsum("cu,ciu->ci", share, away)
        second += jnp.einsum("cu,ciu,cju->cij", share, away, away) + jnp.einsum(
            "cu,ciju->cij", share, covariance
        )
        moved.append(mode)
    count, first, second = total((count, first, second))
    shift = first / jnp.maximum(count, 1e-6)[:, None]
    scatter = second - count[:, None, None] * shift[:, :, None] * shift[:, None, :]
    pooled = jnp.sum(scatter, axis=0) / jnp.maximum(jnp.sum(count), 1e-6)
    covariance = (scatter + _POOLED_USERS * pooled[None]) / (count + _POOLED_USERS)[:, None, None]
    active = mixture.log_share > -jnp.inf
    share = jnp.where(active, (count + 1.0) / (jnp.sum(count) + mixture.in_use), 0.0)
    centre = jnp.where(active[:, None], mixture.centre + shift, 0.0)
    return Mixture(jnp.log(share), centre, _factors(covariance)), tuple(moved)


def _e_step(
    mixture: Mixture, modes: Array, features: Array, pair_weight: Array, likelihood: Likelihood
) -> tuple[Array, Array, Array]:
    """Modes, covariances and evidences of a bucket's users under each component."""
    slots, k, users = modes.shape

    def visit(component: Array, out: tuple[Array, ...]) -> tuple[Array, ...]:
        taken = component_step(
            features[1:],
            features[0],
            pair_weight,
            mixture,
            component,
            modes[component],
            likelihood=likelihood,
        )
        return tuple(into.at[component].set(value) for into, value in zip(out, taken, strict=True))

    start = modes, jnp.zeros((slots, k, k, users)), jnp.zeros((slots, users))
    return jax.lax.fori_loop(0, mixture.in_use, visit, start)


def _split(mixture: Mixture, modes: _Modes) -> tuple[Mixture, _Modes]:
    """Each component in use becomes two: one in its slot, the other in a new one."""
    k = mixture.centre.shape[1]
    covariance = jnp.einsum("cij,ckj->cik", mixture.spread, mixture.spread)
    axis = jax.vmap(_longest_axis)(covariance)
    components = mixture.in_use
    slot = jnp.arange(len(axis))
    parent = jnp.where(slot < components, slot, slot - components) % len(axis)
    active = slot < 2 * components
    side = jnp.where(slot < components, 1.0, -1.0)
    centre = mixture.centre[parent] + jnp.sqrt(0.5) * side[:, None] * axis[parent]
    inside = covariance[parent] - 0.5 * axis[parent][:, :, None] * axis[parent][:, None, :]
    whole = Mixture(
        jnp.where(active, mixture.log_share[parent] - jnp.log(2.0), -jnp.inf),
        jnp.where(active[:, None], centre, 0.0),
        _factors(jnp.where(active[:, None, None], inside, jnp.eye(k)[None])),
    )
    return whole, tuple(mode[parent] for mode in modes)


def _factors(covariance: jax.Array) -> jax.Array:
    """Cholesky factors, `[components, k, k]`."""
    least = _LEAST_VARIANCE * jnp.eye(covariance.shape[-1])[None]
    return jnp.linalg.cholesky(covariance + least)


def _longest_axis(covariance: jax.Array) -> jax.Array:
    """The leading principal direction times its standard deviation, by the power method."""
    start = covariance[jnp.argmax(jnp.diagonal(covariance))]  # never 0, and leans towards it

    def once(_: int, direction: jax.Array) -> jax.Array:
        direction = covariance @ direction
        return direction / jnp.linalg.norm(direction)

    direction = jax.lax.fori_loop(0, _POWER_STEPS, once, start / jnp.linalg.norm(start))
    return direction * jnp.sqrt(direction @ covariance @ direction)
