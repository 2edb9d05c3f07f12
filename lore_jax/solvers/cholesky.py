"""Small positive-definite systems, written for one user; users ride along in trailing axes.

A LAPACK call per user is the slow part of a per-user Newton step on a CPU (and, batched over
thousands of users inside a loop, was seen to hang on two cores), and a launch of tiny blocks on an
accelerator. Here a "number" is an array of any shape `[...]`, one entry a user, so that every
scalar formula is a contiguous vector operation over users. (A vmap would say the same, but its
loops and broadcasts move the users' axis to the front, where nothing vectorises.)

Left to itself XLA would fuse these formulas into one loop that computes every entry anew from the
start for each of its outputs, tens of times slower than this, and takes seconds to compile it. So a
factorisation is cut into columns by barriers: within a column sums are added up in registers,
between columns everything is written down once. Substitutions are loops; a barrier after each of
their short steps costs more than it saves.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_LOST = 1e-6  # a pivot below this part of its diagonal entry is rounding in float32
_PANEL = 4  # columns whose products are taken off the rest at once


def cholesky(matrix: jax.Array, *, least: jax.Array | None = None) -> jax.Array:
    """Lower Cholesky factor of symmetric positive-definite matrices.

    `A = L L'`, column by column: `L_jj = sqrt(A_jj - sum_k L_jk^2)`, `L_ij = (A_ij - sum_k L_ik
    L_jk) / L_jj`.

    Args:
        matrix: A, `[n, n, ...]`; only its lower triangle is read.
        least: D, `[n, ...]`, where A is known to be the diagonal D > 0 plus something positive
            semi-definite (a Hessian with its prior's precision); then no pivot is below D's entry.
            Where rounding has left nothing of a pivot, it is taken to be that entry and its column
            to be 0: a small D beside a large rest is not lost.

    Returns:
        L, `[n, n, ...]`, zeros above the diagonal; NaN where A is NaN, or is not positive definite
        and has no `least`.

    Example:
        >>> cholesky(4.0 * jnp.eye(2))[0, 0]
        Array(2., dtype=float32)
    """
    above = jnp.zeros_like(matrix[0])
    columns = []
    # what is left of A, from the panel's first row and column on, without the outer products of the
    # columns
    left = matrix
    for first in range(0, matrix.shape[0], _PANEL):
        panel: list[jax.Array] = []  # columns from the diagonal down
        for j in range(min(_PANEL, left.shape[0])):
            entries = left[j:, j]
            for k, column in enumerate(panel):
                entries = entries - column[j - k :] * column[j - k][None]
            entries = jax.lax.optimization_barrier(entries)
            pivot, at = entries[0], first + j
            if least is None:
                diagonal = jax.lax.optimization_barrier(jnp.sqrt(pivot))
                reciprocal = 1.0 / diagonal
            else:
                diagonal = jax.lax.optimization_barrier(jnp.sqrt(jnp.maximum(pivot, least[at])))
                # A NaN compares as not lost: it stays visible.
                reciprocal = jnp.where(pivot < _LOST * matrix[at, at], 0.0, 1.0 / diagonal)
            below = entries[1:] * jax.lax.optimization_barrier(reciprocal)[None]
            panel.append(jax.lax.optimization_barrier(jnp.concatenate([diagonal[None], below])))
            columns.append(jax.lax.optimization_barrier(jnp.concatenate([above[:at], panel[-1]])))
        rest = [column[_PANEL - k :] for k, column in enumerate(panel)]
        left = left[_PANEL:, _PANEL:] - sum(
            (c[:, None] * c[None] for c in rest), jnp.zeros_like(left[_PANEL:, _PANEL:])
        )
        left = jax.lax.optimization_barrier(left)
    return jnp.stack(columns, axis=1)


def solve(lower: jax.Array, right: jax.Array) -> jax.Array:
    """The x with `L L' x = b`, by forward and back substitution.

    Args:
        lower: L, `[n, n, ...]`, from `cholesky`.
        right: b, `[n, ...]`.

    Returns:
        x, `[n, ...]`.

    Example:
        >>> solve(cholesky(4.0 * jnp.eye(2)), jnp.ones(2))
        Array([0.25, 0.25], dtype=float32)
    """
    n = lower.shape[0]
    index = jnp.arange(n).reshape(n, *[1] * (right.ndim - 1))

    def forward(i: jax.Array, b: jax.Array) -> jax.Array:
        x = b[i] / lower[i, i]
        return jnp.where(index > i, b - lower[:, i] * x[None], b).at[i].set(x)

    def backward(step: jax.Array, b: jax.Array) -> jax.Array:
        i = n - 1 - step
        x = b[i] / lower[i, i]
        return jnp.where(index < i, b - lower[i] * x[None], b).at[i].set(x)

    return jax.lax.fori_loop(0, n, backward, jax.lax.fori_loop(0, n, forward, right))


def inverse(lower: jax.Array) -> jax.Array:
    """The inverse of `L L'`, `[n, n, ...]`: a posterior covariance where that is a Hessian."""
    n = lower.shape[0]
    identity = jnp.eye(n, dtype=lower.dtype).reshape(n, n, *[1] * (lower.ndim - 2))
    return solve(
        lower[:, :, None], jnp.broadcast_to(identity, lower.shape)
    )  # columns ride along like users
