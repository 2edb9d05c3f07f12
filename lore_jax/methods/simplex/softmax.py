"""Weights as the softmax of logits: their loss with its gradients, and the published adaptation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from lore_jax.solvers.likelihood import LOGISTIC, Likelihood
from lore_jax.solvers.pair_sums import combine, pull_together


def weights_of(logits: Array, columns: Array) -> Array:
    """The softmax of logits `[rank, ...]` over the columns in use `[rank]`; 0 elsewhere."""
    in_use = (columns > 0).reshape(-1, *[1] * (logits.ndim - 1))
    return jax.nn.softmax(jnp.where(in_use, logits, -jnp.inf), axis=0)


def loss_and_gradients(
    features: Array, share: Array, logits: Array, columns: Array, likelihood: Likelihood
) -> tuple[Array, Array, Array]:
    """The weighted loss of all the users given, and its gradients by their features and logits.

    A pair's margin is `z = f . w`: with p the loss's slope, the gradient is `p w` with respect to f
    and `sum p f` with respect to w. Written out because the sums that differentiation makes of
    `f . w` are slow on a CPU (`pair_sums.py`).
    """
    weights, back = jax.vjp(lambda logits: weights_of(logits, columns), logits)
    margin = combine(features, weights)
    pull = share * likelihood.slope(margin)
    (of_logits,) = back(pull_together(features, pull))
    return jnp.sum(share * likelihood.loss(margin)), pull[None] * weights[:, None], of_logits


def adam_logits(
    features: Float[Array, "rank shots *users"],
    pair_weight: Float[Array, "shots *users"],
    logits: Float[Array, "rank *users"],
    *,
    steps: int = 500,
    learning_rate: float = 0.1,
) -> Float[Array, "rank *users"]:
    """A new user's weights as published: so many Adam steps on the logits.

    `argmin over l of sum_i c_i log(1 + exp(-f_i . softmax(l))) / sum_i c_i`, approximately: a
    reference to compare `interior_point.simplex_estimate` with, which reaches the optimum and knows
    it.

    Args:
        features: f, differences of the rewards of a pair divided by the temperature, `[rank, shots,
            ...]`.
        pair_weight: c, how much a pair counts, 0 for padding, `[shots, ...]`.
        logits: where to begin, `[rank, ...]`; the paper draws them from N(0, 1).
        steps: Adam steps.
        learning_rate: Adam's; 0.1 in the paper, 0.5 in its later variant.

    Returns:
        The weights, `[rank, ...]`; those of the start for a user without shots.

    Example:
        >>> adam_logits(jnp.ones((2, 3)), jnp.ones(3), jnp.zeros(2))
        Array([0.5, 0.5], dtype=float32)

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 5 and its appendix on training.
    """
    adam = optax.adam(learning_rate)
    everything = jnp.ones(logits.shape[0])
    weight = jnp.sum(pair_weight, axis=0, keepdims=True)
    share = pair_weight / jnp.where(weight > 0, weight, 1.0)

    def one(_: int, carry: tuple[Array, optax.OptState]) -> tuple[Array, optax.OptState]:
        logits, optimiser = carry
        gradient = loss_and_gradients(features, share, logits, everything, LOGISTIC)[2]
        updates, optimiser = adam.update(gradient, optimiser, logits)
        return logits + jnp.asarray(updates), optimiser

    logits, _ = jax.lax.fori_loop(0, steps, one, (logits, adam.init(logits)))
    return weights_of(logits, everything)
