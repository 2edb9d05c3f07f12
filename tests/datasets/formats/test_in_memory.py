"""Rows in memory; `tests/embed/test_from_texts.py` reads every kind of them."""

import numpy as np
import pytest

from lore_jax.datasets.formats.in_memory import rows_in_memory
from lore_jax.datasets.formats.records import read_records


def test_cells_are_plain_and_missing_ones_are_left_out():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "user_id": np.array([3, 4]),
            "weight": [0.5, np.nan],
            "when": pandas.to_datetime(["2026-01-01", None]),
            "turns": [np.array([{"role": "user"}], object), None],
            "flag": pandas.array([True, None], dtype="boolean"),
        }
    )
    (_, first), (where, second) = read_records(rows_in_memory(frame))
    assert where == "row 1 of the DataFrame (counted from 0)"
    assert second == {"user_id": 4}
    assert (first["user_id"], first["weight"], first["flag"]) == (3, 0.5, True)
    assert type(first["user_id"]) is int
    assert first["turns"] == [{"role": "user"}]


def test_rows_can_be_read_twice():
    rows = rows_in_memory(iter([{"user_id": "ann"}]))
    assert list(rows) == list(rows) != []
