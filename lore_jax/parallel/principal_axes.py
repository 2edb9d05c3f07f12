"""Principal axes of a table, along which the Hessian of a fit is nearly diagonal."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float

from lore_jax.parallel.pytree import pytree


@pytree
class PrincipalAxes:
    """The axes, orthonormal, and how large embeddings are along them.

    Attributes:
        axes: one a column, `[dim, dim]`.
        squared: the mean square of the responses along each, `[dim]`.
    """

    axes: Float[Array | np.ndarray, "dim dim"]
    squared: Float[Array | np.ndarray, " dim"]


def principal_axes(table: Float[np.ndarray, "responses dim"]) -> PrincipalAxes:
    """The eigenvectors of the table's second moments.

    `E' E / responses = axes diag(squared) axes'`

    Args:
        table: E, float32.

    Returns:
        The axes, the strongest last.

    Example:
        >>> principal_axes(np.diag([2.0, 4.0]).astype(np.float32)).squared
        array([2., 8.], dtype=float32)
    """
    squared, axes = np.linalg.eigh(table.T @ table)
    return PrincipalAxes(axes, np.maximum(squared, 0.0) / len(table))
