"""Rows of a table that are so long that they must be mistakes, kept from ruining a fit.

A fit divides embeddings by their root mean square norm. One row of norm 1e6 among ten thousand of
norm 1 makes that 1e4, and every other row nothing; and a pair with such a row has a gradient of its
own size. No share of a scale and no cap on a loss helps both, so such rows count nothing in a fit.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float

from lore_jax.data.preferences import Preferences

LONG = 100.0  # times the median norm; encoders differ by less than 10
_ROWS_AT_A_TIME = 4096  # of a table, so that a memory-mapped one is never copied whole


def squared_norms(
    embeddings: Any,
) -> Float[np.ndarray, " responses"]:
    """The squared norm of each row of a table `[responses, dim]`, also one on disk, float64.

    Raises:
        ValueError: a row is so long that float32 cannot hold the square; the message names it.
    """
    squares = np.empty(embeddings.shape[0])
    for start in range(0, len(squares), _ROWS_AT_A_TIME):
        block = np.asarray(embeddings[start : start + _ROWS_AT_A_TIME], np.float32)
        with np.errstate(over="ignore"):
            rows = np.einsum("rd,rd->r", block, block)
        if len(beyond := np.flatnonzero(~np.isfinite(rows))):
            row = start + int(beyond[0])
            raise ValueError(
                f"embeddings row {row} is so long that float32 cannot hold the square of its norm: "
                "rows of norm 1e19 or less are expected"
            )
        squares[start : start + len(rows)] = rows
    return squares


def set_aside_long_rows(prefs: Preferences) -> Preferences:
    """The same preferences, rows a hundred times as long as the median one counting nothing.

    Such rows become zeros, and pairs with them weigh nothing; a warning names the longest. Where
    there is none, which is the rule, the preferences come back as they are.

    Args:
        prefs: any preferences.

    Returns:
        Preferences with as many rows, pairs and users.

    Raises:
        ValueError: a row is beyond float32.

    Example:
        >>> set_aside_long_rows(prefs) is prefs
        True
    """
    squares = squared_norms(prefs.embeddings)
    usual = np.median(squares[squares > 0]) if squares.any() else 0.0
    is_long = squares > LONG**2 * usual
    if not is_long.any():
        return prefs
    pairs = is_long[prefs.chosen] | is_long[prefs.rejected]
    row, count = int(np.argmax(squares)), int(is_long.sum())
    lengths = f"has norm {np.sqrt(squares[row]):.3g}, the median row {np.sqrt(usual):.3g}"
    warnings.warn(
        f"embeddings row {row} {lengths}: {count} rows {LONG:g} times as long as that and the "
        f"{int(pairs.sum())} pairs with them count nothing in the fit",
        RuntimeWarning,
        stacklevel=3,
    )
    table = np.array(prefs.embeddings)
    table[is_long] = 0
    weight = np.where(pairs, np.float32(0), prefs.pair_weight)
    return dataclasses.replace(prefs, embeddings=table, pair_weight=weight)
