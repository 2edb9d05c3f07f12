"""The first row says what a file holds: comparisons or ratings, of texts or of rows of an array."""

import json

import pytest

from lore_jax.datasets.formats.feedback import (
    HowToRead,
    holds_index_rows,
    read_index_feedback,
    read_text_feedback,
)
from lore_jax.datasets.formats.records import BadRows

REFUSE, SKIP = (lambda: HowToRead(BadRows(skip=False))), (lambda: HowToRead(BadRows(skip=True)))
TEXTS = [
    [{"user_id": 1, "prompt": "p", "chosen": "a", "rejected": "b"}],
    [{"user_id": 1, "response": "a", "rating": 2}, {"user_id": 1, "response": "b", "rating": 1}],
]
NUMBERS = [
    [{"user_id": 1, "chosen": 3, "rejected": 4}],
    [{"user_id": 1, "response": 3, "label": 1}, {"user_id": 1, "response": 4, "label": 0}],
]


def write(path, rows):
    path.write_text("\n" + "".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("rows", TEXTS)
def test_texts(tmp_path, rows):
    path = write(tmp_path / "rows.jsonl", rows)
    assert not holds_index_rows(path)
    pairs = read_text_feedback(path, REFUSE())
    assert [pairs.responses[row].reply for row in (*pairs.chosen, *pairs.rejected)] == ["a", "b"]


@pytest.mark.parametrize("rows", NUMBERS)
def test_rows_of_an_array(tmp_path, rows):
    path = write(tmp_path / "rows.jsonl", rows)
    assert holds_index_rows(path)
    pairs = read_index_feedback(path, 5, REFUSE())
    assert [*pairs.chosen, *pairs.rejected] == [3, 4]


@pytest.mark.parametrize("rows", [*TEXTS, *NUMBERS])
def test_a_bad_first_row_does_not_decide_where_bad_rows_are_skipped(tmp_path, rows):
    path, how = write(tmp_path / "rows.jsonl", [{"user": 1}, *rows]), SKIP()
    assert holds_index_rows(path, how) == (rows in NUMBERS)
    read = read_index_feedback(path, 5, how) if rows in NUMBERS else read_text_feedback(path, how)
    assert (len(read.user), how.bad.count) == (1, 1)
    path.write_text("<html>\n" + path.read_text())
    assert holds_index_rows(path, how) == (rows in NUMBERS)
    with pytest.raises(ValueError, match=r"line 1: .* HTML"):
        holds_index_rows(path)


def test_a_file_without_rows_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="holds no rows: one is expected"):
        holds_index_rows(tmp_path / "rows.jsonl")
