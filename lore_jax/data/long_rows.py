"""Rows of a table that are so long that they must be mistakes, kept from ruining a fit.

A fit divides embeddings by their root mean square norm. One row of norm 1e6 among ten thousand of
norm 1 makes that 1e4, and every other row nothing; and a pair with such a row has a gradient of its
own size. No share of a scale and no cap on a loss helps both, so such rows count nothing in a fit.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from lore_jax.data.feedback import Feedback
from lore_jax.data.preferences import Preferences

LONG = 100.0  # times the median norm; encoders differ by less than 10
_ROWS_AT_A_TIME = 4096  # of a table, so that a memory-mapped one is never copied whole


def squared_norms(embeddings: Any, *, first: int = 0) -> Float[np.ndarray, " responses"]:
    """The squared norm of each row of a table, also one on disk, `[responses]`, float64.

    `first` is the number of the first row of a part of one.

    Raises:
        ValueError: a row is so long that float32 cannot hold the square; the message names it.
    """
    squares = np.empty(embeddings.shape[0])
    for start in range(0, len(squares), _ROWS_AT_A_TIME):
        block = np.asarray(embeddings[start : start + _ROWS_AT_A_TIME], np.float32)
        with np.errstate(over="ignore"):
            rows = np.einsum("rd,rd->r", block, block)
        if len(beyond := np.flatnonzero(~np.isfinite(rows))):
            row = first + start + int(beyond[0])
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
    is_long = find_long_rows(squared_norms(prefs.embeddings))
    if is_long is None:
        return prefs
    pairs = is_long.rows[prefs.chosen] | is_long.rows[prefs.rejected]
    is_long.warn(f"{int(pairs.sum())} pairs")
    weight = np.where(pairs, np.float32(0), prefs.pair_weight)
    table = _without_rows(prefs.embeddings, is_long.rows)
    return dataclasses.replace(prefs, embeddings=table, pair_weight=weight)


def set_aside_long_rows_of_answers(feedback: Feedback) -> Feedback:
    """The same for answers of every kind: those about such a row weigh nothing.

    Args:
        feedback: any feedback.

    Returns:
        Feedback with as many rows, answers and users.

    Raises:
        ValueError: a row is beyond float32.

    Example:
        >>> set_aside_long_rows_of_answers(feedback) is feedback
        True
    """
    is_long = find_long_rows(squared_norms(feedback.embeddings))
    if is_long is None:
        return feedback
    table = _without_rows(feedback.embeddings, is_long.rows)
    return dataclasses.replace(without_answers_about(feedback, is_long), embeddings=table)


def without_answers_about(feedback: Feedback, long: LongRows) -> Feedback:
    """The same feedback, answers about long rows weighing nothing; a warning says how many.

    Example:
        >>> find_long_rows(squared_norms(feedback.embeddings)) is None
        True
    """
    about = [long.rows[block.items].any(axis=1) for block in feedback.blocks]
    long.warn(f"{sum(int(mask.sum()) for mask in about)} answers")
    blocks = tuple(
        dataclasses.replace(block, weight=np.where(mask, np.float32(0), block.weight))
        for block, mask in zip(feedback.blocks, about, strict=True)
    )
    return dataclasses.replace(feedback, blocks=blocks)


class LongRows(NamedTuple):
    """Rows that must be mistakes.

    Attributes:
        rows: which ones.
        longest: the longest one.
        norm: of that.
        usual: the norm of the median row.
    """

    rows: Bool[np.ndarray, " responses"]
    longest: int
    norm: float
    usual: float

    def warn(self, touched: str) -> None:
        """Warns of them, and of the pairs or answers with them."""
        lengths = f"has norm {self.norm:.3g}, the median row {self.usual:.3g}"
        warnings.warn(
            f"embeddings row {self.longest} {lengths}: {int(self.rows.sum())} rows {LONG:g} times "
            f"as long as that and the {touched} with them count nothing",
            RuntimeWarning,
            stacklevel=4,
        )


def find_long_rows(squares: Float[np.ndarray, " responses"]) -> LongRows | None:
    """Rows a hundred times as long as the median one, of `squared_norms`; None: there are none.

    Example:
        >>> find_long_rows(np.array([1.0, 1.0, 1e8])).longest
        2
    """
    usual = np.median(squares[squares > 0]) if squares.any() else 0.0
    is_long = squares > LONG**2 * usual
    if not is_long.any():
        return None
    row = int(np.argmax(squares))
    return LongRows(is_long, row, float(np.sqrt(squares[row])), float(np.sqrt(usual)))


def _without_rows(
    embeddings: Any, rows: Bool[np.ndarray, " responses"]
) -> Float[np.ndarray, "responses dim"]:
    table = np.array(embeddings)
    table[rows] = 0
    return table
