"""Small positive-definite systems, written for one user; users ride along in trailing axes.

A LAPACK call per user is the slow part of a per-user Newton step on a CPU (and, batched over thousands of users inside
a loop, was seen to hang on two cores), and a launch of tiny blocks on an accelerator. Here a "number" is an array of
any shape `[...]`, one entry a user, so that every scalar formula is a contiguous vector operation over users. (A vmap
would say the same, but its loops and broadcasts move the users' axis to the front, where nothing vectorises.) Small
sizes are unrolled into such formulas; larger ones loop over columns.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

UNROLLED_UP_TO = 10  # n^3 / 6 operations are traced: 170 at size 10, 20,000 at size 50, too many to compile
_LOST = 1e-6  # a pivot below this part of its diagonal entry is rounding in float32


def cholesky(matrix: jax.Array, *, least: jax.Array | None = None) -> jax.Array:
    """Lower Cholesky factor of symmetric positive-definite matrices.

    `A = L L'`, column by column: `L_jj = sqrt(A_jj - sum_k L_jk^2)`, `L_ij = (A_ij - sum_k L_ik L_jk) / L_jj`.

    Args:
        matrix: A, `[n, n, ...]`; only its lower triangle is read.
        least: D, `[n, ...]`, where A is known to be the diagonal D > 0 plus something positive semi-definite (a Hessian
            with its prior's precision); then no pivot is below D's entry. Where rounding has left nothing of a pivot,
            it is taken to be that entry and its column to be 0: a small D beside a large rest is not lost.

    Returns:
        L, `[n, n, ...]`, zeros above the diagonal; NaN where A is NaN, or is not positive definite and has no `least`.

    Example:
        >>> cholesky(4.0 * jnp.eye(2))[0, 0]
        Array(2., dtype=float32)
    """
    n = matrix.shape[0]
    if n > UNROLLED_UP_TO:
        return _rolled_cholesky(matrix, least)
    lower = [[jnp.zeros_like(matrix[0, 0])] * n for _ in range(n)]
    for j in range(n):
        left = _minus_products(matrix[j, j], lower[j][:j], lower[j][:j])
        lower[j][j], reciprocal = _pivot(left, matrix[j, j], None if least is None else least[j])
        for i in range(j + 1, n):
            lower[i][j] = _minus_products(matrix[i, j], lower[i][:j], lower[j][:j]) * reciprocal
    return jnp.stack([jnp.stack(row) for row in lower])


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
    if n > UNROLLED_UP_TO:
        return _rolled_solve(lower, right)
    reciprocal = [1.0 / lower[i, i] for i in range(n)]
    x: list[jax.Array] = []
    for i in range(n):
        x.append(_minus_products(right[i], [lower[i, k] for k in range(i)], x) * reciprocal[i])
    for i in reversed(range(n)):
        x[i] = _minus_products(x[i], [lower[k, i] for k in range(i + 1, n)], x[i + 1 :]) * reciprocal[i]
    return jnp.stack(x)


def inverse(lower: jax.Array) -> jax.Array:
    """The inverse of `L L'`, `[n, n, ...]` -> `[n, n, ...]`: a posterior covariance when `L L'` is a Hessian."""
    n = lower.shape[0]
    identity = jnp.eye(n, dtype=lower.dtype).reshape(n, n, *[1] * (lower.ndim - 2))
    # All columns ride along like users: n^2 operations to compile, not n^3, which XLA needs seconds for at size 8.
    return solve(lower[:, :, None], jnp.broadcast_to(identity, lower.shape))


def _minus_products(start: jax.Array, left: list[jax.Array], right: list[jax.Array]) -> jax.Array:
    for a, b in zip(left, right, strict=True):
        start = start - a * b
    return start


def _pivot(left: jax.Array, entry: jax.Array, least: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """`L_jj` from what is left of `A_jj`, and what to multiply the column below it with."""
    if least is None:
        diagonal = jnp.sqrt(left)
        return diagonal, 1.0 / diagonal
    diagonal = jnp.sqrt(jnp.maximum(left, least))
    return diagonal, jnp.where(
        left < _LOST * entry, 0.0, 1.0 / diagonal
    )  # a NaN compares as not lost: it stays visible


def _rolled_cholesky(matrix: jax.Array, least: jax.Array | None) -> jax.Array:
    """Column j of L, then its outer product off what remains of A: n steps of n x n numbers."""
    n = matrix.shape[0]
    index = jnp.arange(n).reshape(n, *[1] * (matrix.ndim - 2))

    def column(j: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        lower, left = state
        diagonal, reciprocal = _pivot(left[j, j], matrix[j, j], None if least is None else least[j])
        entries = jnp.where(index > j, left[:, j] * reciprocal[None], 0.0).at[j].set(diagonal)
        return lower.at[:, j].set(entries), left - entries[:, None] * entries[None, :]

    return jax.lax.fori_loop(0, n, column, (jnp.zeros_like(matrix), matrix))[0]


def _rolled_solve(lower: jax.Array, right: jax.Array) -> jax.Array:
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
