"""The Bradley-Terry loss, the paper's per-user weighting of it, and the penalties on a basis."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def bradley_terry_loss(margin: jax.Array) -> jax.Array:
    """Negative log-likelihood of the recorded choices.

    `-log sigmoid(z) = log(1 + exp(-z))`, written as a softplus: `log(sigmoid(z))` underflows to -inf below z = -88.

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


def per_user_mean_weights(user: jax.Array, weight: jax.Array, num_users: int) -> jax.Array:
    """Pair weights that turn a sum over pairs into a sum over users of each user's mean.

    `c_i = weight_i / sum of the weights of the same user`; 0 where a user has no weight at all.

    Args:
        user: who compared, int `[pairs]`, in `0 .. num_users - 1`.
        weight: how much a pair counts, `[pairs]`; 0 for padding.
        num_users: the number of users (static).

    Returns:
        `c [pairs]`, which sums to 1 over the pairs of every user who has any.

    Example:
        >>> per_user_mean_weights(jnp.array([0, 0, 1]), jnp.ones(3), 2)
        Array([0.5, 0.5, 1. ], dtype=float32)

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 4 (1/m_i in front of each user's sum).
    """
    total = jax.ops.segment_sum(weight, user, num_users, indices_are_sorted=True)
    return weight / jnp.where(total > 0, total, 1.0)[user]


def anchor_penalty(directions: jax.Array, reference: jax.Array) -> jax.Array:
    """How far the columns of a linear basis point from the reference head.

    `mean over columns k of 1 - cos(V_k, v_ref)`

    Args:
        directions: the linear basis V, `[dim, rank]`.
        reference: the reference head, `[dim]`.

    Returns:
        A number between 0 (all columns along the head) and 2.

    Example:
        >>> float(anchor_penalty(jnp.eye(2), jnp.array([1.0, 0.0])))
        0.5

    Reference:
        The later published variant of LoRe (2025), its regulariser with weight alpha.
    """
    # A column of zeros has no angle: it costs 1 and is pulled nowhere, instead of a NaN that spreads to all columns.
    squares = jnp.sum(directions**2, axis=0) * jnp.sum(reference**2)
    length = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
    return jnp.mean(1.0 - jnp.where(squares > 0, reference @ directions / length, 0.0))


def anchor_schedule(step: jax.Array, steps: int) -> jax.Array:
    """The share of the anchor's weight in force: 0 until 20 % of the steps, then linear, 1 from 80 % on.

    Args:
        step: the step about to be taken, from 0.
        steps: how many will be taken.

    Returns:
        A number in `[0, 1]`.

    Example:
        >>> float(anchor_schedule(jnp.array(50), 100))
        0.5

    Reference:
        The later published variant of LoRe (2025).
    """
    return jnp.clip((step / steps - 0.2) / 0.6, 0.0, 1.0)
