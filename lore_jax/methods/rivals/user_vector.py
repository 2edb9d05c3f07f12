"""A new user's vector, fitted to the shots with everything else frozen.

    minimise over d   sum_i c_i loss(z_i(d)) + |d|^2 / 2 spread^2

by Gauss-Newton: with J the derivatives of the margins, s and h the slopes and curvatures of the
loss,

    (J' diag(c h) J + I / spread^2) step = J' (c s) + d / spread^2

and of a few lengths of the step the best, nothing among them, so that the objective never rises.
Without shots d stays 0: the user is the generic one.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from lore_jax.solvers.likelihood import LOGISTIC

_LENGTHS = (1.0, 0.3, 0.0)


def fit_vector(
    margins: Callable[[Array], Array],
    weight: Float[Array, " pairs"],
    size: int,
    spread: Float[Array, ""] | float,
    *,
    steps: int = 5,
) -> Float[Array, " size"]:
    """One user's vector.

    Args:
        margins: z of the user's pairs, `[pairs]`, as a function of the vector `[size]`.
        weight: c, how much each pair counts, 0 for padding.
        size: the length of the vector.
        spread: standard deviation of users' vectors around the generic one, which is 0.
        steps: Gauss-Newton steps.

    Returns:
        The vector; NaN where margins are.

    Example:
        >>> x = jnp.array([[1.0, 0.0], [0.0, -1.0]])
        >>> fit_vector(lambda d: x @ d, jnp.ones(2), 2, jnp.float32(1.0))
        Array([ 0.401..., -0.401...], dtype=float32)
    """
    precision = 1.0 / spread**2

    def objective(vector: Array) -> Array:
        loss = weight * LOGISTIC.loss(margins(vector))
        return jnp.sum(loss) + 0.5 * precision * jnp.sum(vector**2)

    def step(_: int, vector: Array) -> Array:
        z, push = jax.linearize(margins, vector)
        along = jax.vmap(push, out_axes=1)(jnp.eye(size))
        gradient = along.T @ (weight * LOGISTIC.slope(z)) + precision * vector
        curvature = weight * LOGISTIC.curvature(z)

        def curved(x: Array) -> Array:
            return along.T @ (curvature * (along @ x)) + precision * x

        # As many iterations as there are entries end where a factorisation would; it compiles
        # sooner.
        move, _ = cg(curved, gradient, maxiter=size)  # pyright: ignore
        # Where the gradient is NaN it stops at 0. A NaN stays visible, here and in argmin.
        move = jnp.where(jnp.isnan(gradient), gradient, move)
        ends = vector[None] - jnp.array(_LENGTHS)[:, None] * move[None]
        return ends[jnp.argmin(jax.vmap(objective)(ends))]

    return jax.lax.fori_loop(0, steps, step, jnp.zeros(size))
