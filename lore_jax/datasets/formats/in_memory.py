"""Rows that are in memory already: data frames, Arrow tables, `datasets`, lists; read as a file is.

No library is imported for it: whoever holds a data frame has imported its library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from lore_jax.datasets.formats.messages import kind_of


class RowsInMemory:
    """Rows with a name; a cell that is missing (None, NaN) is left out of its row.

    Args:
        name: what to call them in messages.
        rows: gives them anew each time.

    Example:
        >>> str(rows_in_memory([{"user_id": "ann", "label": None}]))
        'the list'
        >>> list(rows_in_memory([{"user_id": "ann", "label": None}]))
        [('row 0 of the list (counted from 0)', {'user_id': 'ann'})]
    """

    def __init__(self, name: str, rows: Callable[[], Iterable[object]]) -> None:
        self._name, self._rows = name, rows

    def __str__(self) -> str:
        return self._name

    def __iter__(self) -> Iterator[tuple[str, dict[str, object]]]:
        for number, row in enumerate(self._rows()):
            where = f"row {number} of {self._name} (counted from 0)"
            if not isinstance(row, Mapping):
                raise ValueError(f"{where} is {kind_of(row)}: a dictionary is expected")
            cells = ((str(name), _plain(value)) for name, value in row.items())
            yield where, {name: value for name, value in cells if value is not None}


def rows_in_memory(source: Any) -> RowsInMemory:
    """What a data frame, an Arrow table, a `datasets.Dataset` or a list holds.

    Args:
        source: a pandas or Polars frame, a `pyarrow.Table`, a `datasets.Dataset`, or a list (or
            another iterable) of dictionaries.

    Raises:
        ValueError: it is something else, or a dictionary of splits.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"user_id": ["ann", "bob"], "weight": [1.0, float("nan")]})
        >>> [row for _, row in rows_in_memory(frame)]
        [{'user_id': 'ann', 'weight': 1.0}, {'user_id': 'bob'}]
    """
    name = f"the {type(source).__name__}"
    if isinstance(source, Mapping):
        splits = ", ".join(map(repr, list(source)[:5]))
        raise ValueError(f"{name} holds {splits}: one of them, rows, is expected")
    if hasattr(source, "to_pylist"):  # Arrow
        return RowsInMemory(name, source.to_pylist)
    if hasattr(source, "iter_rows"):  # Polars
        return RowsInMemory(name, lambda: source.iter_rows(named=True))
    if hasattr(source, "itertuples"):  # pandas
        columns = list(source.columns)
        return RowsInMemory(
            name,
            lambda: (
                dict(zip(columns, row, strict=True)) for row in source.itertuples(index=False)
            ),
        )
    if isinstance(source, str | bytes) or not isinstance(source, Iterable):
        expected = "a path, a data frame, a Dataset or a list of dictionaries is expected"
        raise ValueError(f"rows are {kind_of(source)}: {expected}")
    rows = list(source) if isinstance(source, Iterator) else source  # they are read twice
    return RowsInMemory(name, lambda: rows)


def _plain(value: object) -> object:
    """A cell as JSON has it; a missing one is None."""
    if isinstance(value, np.generic):
        value = value.item()
    elif isinstance(value, np.ndarray):
        return [_plain(entry) for entry in value.tolist()]
    # NaN is not equal to itself; pandas' NA and NaT say neither.
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    return value
