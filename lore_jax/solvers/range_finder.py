"""The strongest directions of a table of embeddings, from a sample of its rows."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.parallel.table_rows import Table, every_row

_SAMPLED_ROWS = 1024


def strongest_axes(table: Table, count: int) -> Float[Array, "dim axes"]:
    """Orthonormal directions along which the rows are largest, nearly the principal ones.

    With X a sample of rows and `X X' = U S^2 U'`, an orthonormal basis of `X' U`.

    Args:
        table: the rows, `[rows, dim]`.
        count: how many directions are wanted.

    Returns:
        At most `count` directions, and no more than rows were sampled.

    Example:
        >>> jnp.abs(strongest_axes(jnp.array([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 1)).T
        Array([[1., 0., 0.]], dtype=float32)

    Reference:
        Drineas and Mahoney 2005, "On the Nystroem method for approximating a Gram matrix".
    """
    sample = every_row(table, -(-table.shape[0] // _SAMPLED_ROWS)).astype(jnp.float32)
    kept = min(count, *sample.shape)
    vectors = jnp.linalg.eigh(sample @ sample.T)[1][:, -kept:]
    return jnp.linalg.qr(sample.T @ vectors)[0]
