"""The table in few coordinates, for choosing settings: fits see embeddings by inner products alone.

Where a basis is linear with a ridge on it, rotating the table changes nothing, so n responses need
no more than n coordinates: with `E' = Q R`, the rows of R' have the inner products of E, exactly.
Where both the responses and dim are many, or the table is large, the strongest directions Q of the
table are kept, and

    v . e = (Q' v) . (Q' e)  +  an effect of the response's own,   N(0, |e - Q Q' e|^2 / 2 ridge),

which is the ridge's prior of what is left out, but for what it says of two responses together.
(In the Gaussian process literature: FITC, the fully independent training conditional.) Settings are
chosen in these coordinates; the fit that follows has the table as it is.

Coordinates and rows are filled up with zeros to round numbers, which changes nothing either, so
that data sets share compiled programs.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.parallel.principal_axes import PrincipalAxes, principal_axes
from lore_jax.parallel.rounding import rounded_rows
from lore_jax.parallel.table_rows import StreamedTable, Table, map_rows
from lore_jax.solvers.range_finder import strongest_axes

MOST_COORDINATES = 512
_MOST_NUMBERS = 2**22  # of a table that keeps more coordinates than are kept of a large one
_KEPT = 256


class ReducedTable(NamedTuple):
    """Preferences over a table in few coordinates.

    Attributes:
        prefs: the same pairs in the same order, over the responses that they compare.
        outside: `|e|^2` of what the coordinates leave out of each response, `[responses]`.
        principal: axes of the coordinates.
    """

    prefs: Preferences
    outside: Float[np.ndarray, " responses"]
    principal: PrincipalAxes


def reduced_table(prefs: Preferences) -> ReducedTable:
    """The pairs over a table of at most `MOST_COORDINATES` coordinates.

    Args:
        prefs: the pairs.

    Returns:
        The `ReducedTable`.

    Example:
        >>> reduced_table(prefs).prefs.num_pairs == prefs.num_pairs
        True

    Reference:
        Quinonero-Candela and Rasmussen 2005, JMLR 6 (FITC).
    """
    if isinstance(prefs.embeddings, np.ndarray | jax.Array):
        prefs = prefs.take_responses()
        rows, outside = _few_coordinates(jnp.asarray(prefs.embeddings))
    else:
        # On disk: no more than its strongest directions is ever in memory, after one pass.
        found = jax.jit(_along_strongest)(StreamedTable(prefs.embeddings))
        numbers = np.concatenate([np.asarray(part) for part in found], axis=1)
        prefs = dataclasses.replace(prefs, embeddings=numbers).take_responses()
        rows, outside = prefs.embeddings[:, :-1], prefs.embeddings[:, -1]
    padding = [(0, rounded_rows(size) - size) for size in rows.shape]
    table = np.asarray(rows)
    principal = principal_axes(np.pad(table, [(0, 0), padding[1]]))
    prefs = dataclasses.replace(prefs, embeddings=np.pad(table, padding), head=None)
    return ReducedTable(prefs, np.pad(np.asarray(outside), padding[0]), principal)


def _few_coordinates(table: Array) -> tuple[Array, Array]:
    """Coordinates of the rows, and `|e|^2` of what they leave out."""
    responses, dim = table.shape
    needed = min(responses, dim)
    if needed > (_KEPT if responses * needed > _MOST_NUMBERS else MOST_COORDINATES):
        rows, outside = _along_strongest(table)
        return rows, outside[:, 0]
    rows = table.astype(jnp.float32)
    if responses < dim:
        rows = jnp.linalg.qr(rows.T, mode="r").T
    return rows, jnp.zeros(responses)


def _along_strongest(table: Table) -> tuple[Array, Array]:
    """Coordinates along the strongest directions, and what they leave out, `[responses, 1]`."""

    def along(axes: Array, rows: Array) -> tuple[Array, Array]:
        inside = jnp.matmul(rows, axes, preferred_element_type=jnp.float32)
        squared = jnp.einsum("ij,ij->i", rows, rows, preferred_element_type=jnp.float32)
        return inside, jnp.maximum(squared - jnp.sum(inside**2, axis=1), 0.0)[:, None]

    return map_rows(along, strongest_axes(table, _KEPT), table)
