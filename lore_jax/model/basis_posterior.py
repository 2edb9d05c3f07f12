"""What a fit does not know of a linear basis, and what that means for a pair's margin.

A column of the basis has the posterior `v_k ~ N(V_k, C_k)`. The margin `sum_k w_k v_k' x`, `x` the
difference of a pair's embeddings, is uncertain by

    Var = sum_k E[w_k^2] x' C_k x,

columns being independent of one another: their cross terms are sums over users of `E[w_k w_l]`,
which cancel. Column 0, the population's, has a covariance of its own; what is known of users is the
same in any rotation of the other columns, so these share one.

Along `axes` a covariance is full. Elsewhere the fit knows no more than the prior, `rest` for every
squared unit of an embedding, and what is left of two embeddings there is taken to be uncorrelated.

A direction that is unknown is unknown for all responses: their rewards are wrong together. Hence a
response carries its coordinates `T`, with `Cov[r_i, r_j] = T_i . T_j`, and not a variance.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.parallel.pytree import pytree
from lore_jax.parallel.table_rows import Table, map_rows

KINDS = 2  # of columns: the population's, and those of users' deviations
_MOST_ROWS = 4096  # for which the covariance of all responses is formed: 64 MB
_PAIRS_AT_A_TIME = 1024


@pytree
class BasisPosterior:
    """The Laplace posterior of a linear basis around its columns.

    Attributes:
        axes: orthonormal directions of embeddings over `input_scale`, `[dim, q]`; all of them, q =
            dim, are the coordinates themselves.
        factor: `G_k` with `C_k = axes G_k G_k' axes' + rest_k (I - axes axes')`; of the
            population's column and of every other, `[2, q, q]`.
        rest: variance along what is orthogonal to the axes, `[2]`.
    """

    axes: Float[Array, "dim q"]
    factor: Float[Array, "2 q q"]
    rest: Float[Array, " 2"]


def by_column(kinds: Float[Array, "*n 2"], rank: int) -> Float[Array, "*n rank"]:
    """What holds of column 0 and of every other, column by column.

    Example:
        >>> by_column(jnp.array([1.0, 2.0]), 3)
        Array([1., 2., 2.], dtype=float32)
    """
    return jnp.concatenate([kinds[..., :1], jnp.repeat(kinds[..., 1:], rank - 1, axis=-1)], axis=-1)


def along_axes(
    embeddings: Table, axes: Float[Array, "dim q"], input_scale: Array
) -> Float[Array, "responses q"]:
    """Coordinates of scaled embeddings along the axes of a `BasisPosterior`.

    Example:
        >>> along_axes(jnp.ones((1, 3)), jnp.eye(3)[:, :1], jnp.float32(2.0))
        Array([[0.5]], dtype=float32)
    """

    def along(params: tuple[Array, Array], rows: Array) -> Array:
        axes, input_scale = params
        if axes.shape[0] == axes.shape[1]:
            return rows.astype(jnp.float32) / input_scale
        return jnp.matmul(rows, axes / input_scale, preferred_element_type=jnp.float32)

    return map_rows(along, (axes, input_scale), embeddings)


class ResponseUncertainty(NamedTuple):
    """What the posterior of the basis says of each response's rewards.

    Attributes:
        coordinates: T, `[2, responses, q]`: rewards of two responses covary by the product of
            theirs, for each kind of column.
        variance: what is uncertain of each response for itself, `[responses, 2]`.
    """

    coordinates: Float[Array, "2 responses q"]
    variance: Float[Array, "responses 2"]


def response_uncertainty(
    posterior: BasisPosterior, embeddings: Table, input_scale: Array
) -> ResponseUncertainty:
    """Coordinates and remaining variance of a table's responses.

    `T = E axes G / input_scale`, and `rest (|e|^2 - |axes' e|^2)`

    Args:
        posterior: of the basis.
        embeddings: `[responses, dim]`.
        input_scale: what the basis divides embeddings by.

    Returns:
        The `ResponseUncertainty`.

    Example:
        >>> axes, factor = jnp.eye(3)[:, :2], jnp.stack([jnp.eye(2)] * 2)
        >>> known = BasisPosterior(axes, factor, jnp.array([0.5, 2.0]))
        >>> uncertain = response_uncertainty(known, jnp.ones((4, 3)), jnp.ones(()))
        >>> uncertain.variance[0]
        Array([0.5, 2. ], dtype=float32)
    """
    along = along_axes(embeddings, posterior.axes, input_scale)
    coordinates = jnp.stack([along @ factor for factor in posterior.factor])
    squared = map_rows(_squares, (), embeddings)
    # Rounding, where the axes leave nothing.
    outside = squared / input_scale**2 - jnp.sum(along**2, axis=1)
    outside = jnp.where(outside > 1e-4 * squared / input_scale**2, outside, 0.0)
    return ResponseUncertainty(coordinates, outside[:, None] * posterior.rest[None])


def _squares(_: tuple[()], rows: Array) -> Float[Array, " rows"]:
    return jnp.einsum("ij,ij->i", rows, rows, preferred_element_type=jnp.float32)


def variance_of_differences(
    coordinates: Float[Array, "responses q"],
    chosen: Int[Array | np.ndarray, "*pairs"],
    rejected: Int[Array | np.ndarray, "*pairs"],
) -> Float[Array, "*pairs"]:
    """`|T_chosen - T_rejected|^2` of every pair; an array pairs x q is never formed.

    Args:
        coordinates: T, `[responses, q]`.
        chosen: rows `[...]`.
        rejected: rows `[...]`.

    Returns:
        Variances `[...]`.

    Example:
        >>> variance_of_differences(jnp.eye(2), jnp.array([0]), jnp.array([1]))
        Array([2.], dtype=float32)
    """
    size = jnp.sum(coordinates**2, axis=1)
    own = size[chosen] + size[rejected]
    is_open = jax.export.is_symbolic_dim(coordinates.shape[0])  # of an exported program
    if not is_open and len(coordinates) <= _MOST_ROWS:
        return jnp.maximum(own - 2.0 * (coordinates @ coordinates.T)[chosen, rejected], 0.0)

    def product(rows: tuple[Array, Array]) -> Array:
        return jnp.sum(coordinates[rows[0]] * coordinates[rows[1]])

    sides = jnp.ravel(chosen), jnp.ravel(rejected)
    at_once = None if is_open else _PAIRS_AT_A_TIME
    products = jax.lax.map(product, sides, batch_size=at_once).reshape(own.shape)
    return jnp.maximum(own - 2.0 * products, 0.0)
