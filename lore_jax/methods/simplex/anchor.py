"""The anchor of the later variant: a penalty on angles between basis and reference head."""

from __future__ import annotations

import jax
import jax.numpy as jnp


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
    # A column of zeros has no angle: it costs 1 and is pulled nowhere, instead of a NaN that
    # spreads to all columns.
    squares = jnp.sum(directions**2, axis=0) * jnp.sum(reference**2)
    length = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
    return jnp.mean(1.0 - jnp.where(squares > 0, reference @ directions / length, 0.0))


def anchor_schedule(step: jax.Array, steps: int) -> jax.Array:
    """The share of the anchor's weight in force: 0 until 20 % of the steps, 1 from 80 % on.

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
