"""Cells of rows as what they should be: lists, orders, whole numbers, weights.

CSV keeps numbers as texts and lists as JSON, a column with empty cells makes floats of integers;
what a cell means is the same. Refusals begin with the column's name.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

import numpy as np

from lore_jax.datasets.formats.messages import kind_of, short

_LARGEST_WEIGHT = float(np.finfo(np.float32).max)  # what a table of weights can hold


def as_list(column: str, value: object) -> list[object]:
    """A list, also where CSV keeps it as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"{column} is no whole JSON list: {value[:40]!r}") from None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    raise ValueError(f"{column} is {kind_of(value)}: a list is expected")


def as_order(ranks: list[object], count: int) -> tuple[list[int], int]:
    """Positions from the best on, those without a rank last; and how many have one."""
    if len(ranks) != count:
        raise ValueError(f"rank has {len(ranks)} entries for {count} responses: one each")
    said = {i: as_whole("rank", rank, 1, 10**6) for i, rank in enumerate(ranks) if rank is not None}
    values = list(said.values())
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"rank holds {value} twice: ranks must differ")
    if not said:
        raise ValueError("rank holds no rank: one or more are expected")
    return [*sorted(said, key=lambda i: said[i]), *(i for i in range(count) if i not in said)], len(
        said
    )


def as_whole(column: str, value: object, low: int, high: int) -> int:
    """A whole number within bounds."""
    value = as_integer(value)
    if type(value) is not int or not low <= value <= high:
        got = short(value) if isinstance(value, int | float | str) else kind_of(value)
        raise ValueError(f"{column} is {got}: a whole number from {low} to {high} is expected")
    return value


def as_integer(value: object) -> object:
    """The value; as an integer where a table with empty cells has made a float or a text of it."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value  # pyright: ignore[reportArgumentType]


def as_weight(value: object, *, texts: bool = True) -> float:
    """How much an answer counts; `texts`: digits are a number too."""
    number = value
    if texts and isinstance(value, str):
        with contextlib.suppress(ValueError):
            number = float(value)
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if is_number and 0 <= number <= _LARGEST_WEIGHT:  # pyright: ignore[reportOperatorIssue]
        return float(number)  # pyright: ignore[reportArgumentType]
    raise ValueError(f"weight is {short(value)}: a number, finite and 0 or more, is expected")
