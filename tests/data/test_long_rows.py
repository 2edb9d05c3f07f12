"""A row that must be a mistake is named, and counts nothing."""

import numpy as np
import pytest

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers, from_answers, rankings
from lore_jax.data.long_rows import (
    set_aside_long_rows,
    set_aside_long_rows_of_answers,
    squared_norms,
)
from lore_jax.data.preferences import from_arrays

TABLE = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
CHOSEN, REJECTED, USER = [0, 1, 2, 3], [1, 2, 3, 4], [0, 0, 1, 1]


def prefs_of(table):
    return from_arrays(table, CHOSEN, REJECTED, USER)


@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_squared_norms_are_those_of_numpy(rows, monkeypatch):
    monkeypatch.setattr("lore_jax.data.long_rows._ROWS_AT_A_TIME", rows)
    expected = np.sum(TABLE.astype(np.float64) ** 2, axis=1)
    np.testing.assert_allclose(squared_norms(TABLE), expected, rtol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 1e-9, 10.0])
def test_ordinary_tables_come_back_as_they_are(factor):
    table = TABLE.copy()
    table[2] *= factor
    for prefs in (prefs_of(table), prefs_of(np.zeros_like(TABLE)), prefs_of(1e15 * TABLE)):
        assert set_aside_long_rows(prefs) is prefs


def test_a_long_row_and_its_pairs_count_nothing():
    table = TABLE.copy()
    table[2] *= 1e6
    message = r"embeddings row 2 has norm .*, the median row .*: 1 rows 100 times .* the 2 pairs"
    with pytest.warns(RuntimeWarning, match=message):
        prefs = set_aside_long_rows(prefs_of(table))
    np.testing.assert_array_equal(prefs.pair_weight, [1, 0, 0, 1])
    np.testing.assert_array_equal(prefs.embeddings[2], 0)
    np.testing.assert_array_equal(np.delete(prefs.embeddings, 2, 0), np.delete(TABLE, 2, 0))


def test_a_row_beyond_float32_is_refused_with_its_place():
    table = TABLE.copy()
    table[3] = 1e25
    with pytest.raises(ValueError, match="embeddings row 3 is so long that float32 cannot hold"):
        set_aside_long_rows(prefs_of(table))


def test_answers_about_a_long_row_count_nothing():
    table = TABLE.copy()
    table[2] *= 1e6
    stars = answers(Kind("rating", 1, levels=5), [0, 2, 3], [0, 0, 1], outcome=[0, 4, 2])
    feedback = from_answers(table, [stars, *rankings([[0, 1, 2], [3, 4, 5]], [0, 1])])
    with pytest.warns(RuntimeWarning, match="the 2 answers with them count nothing"):
        found = set_aside_long_rows_of_answers(feedback)
    assert [block.weight.tolist() for block in found.blocks] == [[0, 1], [1, 0, 1]]
    np.testing.assert_array_equal(found.embeddings[2], 0)
    ordinary = from_answers(TABLE, [stars])
    assert set_aside_long_rows_of_answers(ordinary) is ordinary
