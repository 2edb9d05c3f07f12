"""The Bradley-Terry loss, the paper's per-user weighting of it, and the penalties on a basis."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def bradley_terry_loss(margin: jax.Array) -> jax.Array:
    """Negative log-likelihood of the recorded choices.

    `-log sigmoid(z) = log(1 + exp(-z))`, written as a softplus: `log(sigmoid(z))` underflows to
    -inf below z = -88.

    Args:
        margin: z in logits, any shape; positive means the model agrees with the user.

    Returns:
        The loss in nats, the shape of `margin`.

    Example:
        >>> float(bradley_terry_loss(jnp.zeros(())))  # log 2
        0.6931...

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 1.
    """
    return jax.nn.softplus(-margin)


def per_user_mean_weights(user: jax.Array, pair_weight: jax.Array, num_users: int) -> jax.Array:
    """Pair weights that turn a sum over pairs into a sum over users of each user's mean.

    `c_i = weight_i / sum of the weights of the same user`; 0 where a user has no weight at all.

    Args:
        user: who compared, int `[pairs]`, in `0 .. num_users - 1`.
        pair_weight: how much a pair counts, `[pairs]`; 0 for padding.
        num_users: the number of users (static).

    Returns:
        `c [pairs]`, which sums to 1 over the pairs of every user who has any.

    Example:
        >>> per_user_mean_weights(jnp.array([0, 0, 1]), jnp.ones(3), 2)
        Array([0.5, 0.5, 1. ], dtype=float32)

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 4 (1/m_i in front of each user's sum).
    """
    total = jax.ops.segment_sum(pair_weight, user, num_users, indices_are_sorted=True)
    return pair_weight / jnp.where(total > 0, total, 1.0)[user]
