"""A user by a few gradient steps from a start: softmax weights on shared rewards.

w <- w - rate gradient of the mean loss on the user's pairs,    z = softmax(w) . f
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import SimplexPrior
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood

INNER_STEPS = 2


def inner_steps(
    start: Float[Array, " k"],
    rate: Float[Array, ""],
    features: Float[Array, "k shots *users"],
    pair_weight: Float[Array, "shots *users"],
) -> Float[Array, "k *users"]:
    """A user's logits: a few gradient steps from the start; users in trailing axes.

    Args:
        start: w_0.
        rate: of the steps.
        features: differences of the rewards.
        pair_weight: 0 for padding.

    Returns:
        The logits; the start itself without pairs.

    Example:
        >>> inner_steps(jnp.zeros(2), jnp.ones(()), jnp.array([[1.0], [-1.0]]), jnp.ones(1)) > 0
        Array([ True, False], dtype=bool)
    """
    users = features.shape[2:]
    count = jnp.maximum(jnp.sum(pair_weight, axis=0), 1e-6)

    def loss(logits: Array) -> Array:
        losses = pair_weight * LOGISTIC.loss(mixed(logits, features))
        return jnp.sum(jnp.sum(losses, axis=0) / count)

    logits = jnp.broadcast_to(start.reshape(-1, *[1] * len(users)), (len(start), *users))
    for _ in range(INNER_STEPS):
        logits = logits - rate * jax.grad(loss)(logits)
    return logits


def mixed(
    logits: Float[Array, "k *users"], features: Float[Array, "k shots *users"]
) -> Float[Array, "shots *users"]:
    """`softmax(w) . f` of every pair."""
    weights = jax.nn.softmax(logits, axis=0)
    zero = jnp.zeros_like(features, shape=features.shape[1:])
    return sum((features[a] * weights[a][None] for a in range(len(features))), zero)


@pytree
class InnerStepsPrior(SimplexPrior):
    """Weights are where the inner steps lead.

    Attributes:
        start: w_0, `[k]`.
        rate: of the inner steps.
    """

    start: Float[Array, " k"]
    rate: Float[Array, ""]

    def solve(
        self,
        along: Float[Array, "columns shots *users"],
        pair_weight: Float[Array, "shots *users"],
        start: Float[Array, "rank *users"] | None = None,
        likelihood: Likelihood = LOGISTIC,
    ) -> Posterior:
        """The softmax after the inner steps, without covariance; all users' solves are whole."""
        if start is not None:
            raise ValueError("inner steps begin at the meta-learned start: start must be None")
        logits = inner_steps(self.start, self.rate, along, pair_weight)
        shots = jnp.sum(pair_weight > 0, axis=0, dtype=jnp.int32)
        nothing = jnp.zeros(shots.shape)
        steps = jnp.full(shots.shape, INNER_STEPS, jnp.int32)
        return Posterior(jax.nn.softmax(logits, axis=0), None, shots, nothing == 0, steps, nothing)
