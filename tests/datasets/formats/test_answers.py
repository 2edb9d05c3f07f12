"""Answers of every kind from rows of every format, and every bad row in one line with its place."""

import json

import numpy as np
import pandas as pd
import pytest

from lore_jax.data.feedback import from_answers
from lore_jax.datasets.formats.answers import answers_are_indices, holds_answers, read_answers
from lore_jax.datasets.formats.records import BadRows

MIXED = [
    {"user_id": "ann", "chosen": 0, "rejected": 1, "strength": 2},
    {"user_id": "ann", "chosen": 2, "rejected": 1, "strength": 0},
    {"user_id": "bob", "responses": [3, 1, 2], "rank": [2, 1, 3]},
    {"user_id": "bob", "responses": [3, 1, 2, 0], "rank": [None, 1, None, 2]},
    {"user_id": "bob", "responses": [3, 1, 2], "choice": 2},
    {"user_id": "bob", "responses": [3, 1, 2, 0], "best": 3, "worst": 0, "weight": 2.0},
    {"user_id": "ann", "response": 3, "rating": 5},
    {"user_id": "cy", "response": 1, "rating": 1},
    {"user_id": "cy", "response": 1, "rating": 4},
    {"user_id": "cy", "chosen": 1, "rejected": 3},
    {"user_id": "eve", "prompt": "p", "response": 3, "rank": 2},
    {"user_id": "eve", "prompt": "p", "response": 2, "rank": 1},
]


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        lists = [
            {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows
        ]
        pd.DataFrame(lists).astype(object).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_many_kinds_in_one_file(tmp_path, suffix):
    # A column of Parquet holds lists or numbers: a ranking by rows is in the other formats alone.
    by_rows = suffix != ".parquet"
    rows = MIXED if by_rows else MIXED[:-2]
    found = read_answers(write(tmp_path / f"rows{suffix}", rows), 5)
    assert found.user_ids == ["ann", "bob", "cy", "eve"][: 4 if by_rows else 3]
    assert found.note == (
        "1 best-worst choices of 4, 1 choices of 3, 1 first 2 places of 4, 1 pairs, "
        f"{'1 rankings of 2, ' if by_rows else ''}1 rankings of 3, 2 strengths 1-5, 2 votes 1-2 "
        f"of {4 if by_rows else 3} users on 5 responses"
    )
    blocks = {str(block.kind): block for block in found.blocks}
    assert blocks["rankings of 3"].items.tolist() == [[1, 3, 2]]
    assert blocks["first 2 places of 4"].items.tolist() == [[1, 0, 3, 2]]
    assert blocks["choices of 3"].items[0, 0] == 2
    ends = blocks["best-worst choices of 4"]
    assert (ends.items[0, 0], ends.items[0, 3], ends.weight[0]) == (0, 3, 2.0)
    if by_rows:
        assert blocks["rankings of 2"].items.tolist() == [[2, 3]]
    np.testing.assert_array_equal(blocks["strengths 1-5"].outcome, [4, 2])


def test_ratings_of_texts_are_understood_with_and_without_a_scale(tmp_path):
    rows = [
        {"user_id": u, "prompt": "p", "completion": f"reply {i}", "label": value}
        for u, i, value in ((1, 0, True), (1, 1, False), (2, 0, True))
    ]
    found = read_answers(write(tmp_path / "kto.jsonl", rows))
    assert found.note == "3 votes 1-2 of 2 users on 2 responses"
    assert [response.reply for response in found.responses] == ["reply 0", "reply 1"]
    scored = [{"user_id": 1, "response": f"r{i}", "score": i} for i in range(0, 101, 5)]
    assert read_answers(write(tmp_path / "scores.jsonl", scored)).note == (
        "21 ratings 1-7 of 1 users on 21 responses; scores 0 to 100 became 7 levels"
    )
    stars = [{"user_id": 1, "response": f"r{i}", "rating": 2 + i} for i in range(2)]
    found = read_answers(write(tmp_path / "stars.jsonl", stars), scale=(1, 5))
    assert found.blocks[0].outcome.tolist() == [1, 2]
    polis = [{"user_id": 1, "response": f"r{i}", "vote": i - 1} for i in range(3)]
    assert read_answers(write(tmp_path / "polis.jsonl", polis)).note.startswith("3 ratings 1-3")


def test_strengths_up_to_one_are_pairs_or_ties(tmp_path):
    rows = [{"user_id": 1, "chosen": 0, "rejected": 1, "strength": s} for s in (1, 0)]
    found = read_answers(write(tmp_path / "rows.jsonl", rows), 2)
    assert found.note.startswith("2 pairs or ties")
    assert found.blocks[0].outcome.tolist() == [2, 1]
    from_answers(np.zeros((2, 1), np.float16), found.blocks)


ONE = {"user_id": 1, "response": 0, "rating": 3}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"chosen": 0, "rejected": 1}], "line 1: column 'user_id' is missing"),
        ([{"user_id": 1, "responses": [0], "rank": [1]}], "line 1: responses holds 1: 2 or more"),
        ([{"user_id": 1, "responses": [0, 1], "rank": [1, 1]}], "line 1: rank holds 1 twice"),
        ([{"user_id": 1, "responses": [0, 1], "rank": [1]}], "rank has 1 entries for 2"),
        ([{"user_id": 1, "responses": [0, 0], "rank": [1, 2]}], "responses holds one twice"),
        ([{"user_id": 1, "responses": [0, 9], "rank": [1, 2]}], "9, outside the embeddings of 4"),
        ([{"user_id": 1, "responses": [0, 1], "choice": 2}], "choice is 2: a whole number from 0"),
        ([{"user_id": 1, "responses": [0, 1]}], "'best' is missing: rank, choice, or best"),
        ([{"user_id": 1, "responses": [0, 1], "best": 1, "worst": 1}], "best and worst are both 1"),
        ([{"user_id": 1, "chosen": 0, "rejected": 0, "strength": 1}], "chosen equals rejected"),
        ([{"user_id": 1, "chosen": 0, "rejected": 1, "strength": "much"}], "strength is 'much'"),
        ([{"user_id": 1, "chosen": 0, "response": 1}], "one of chosen, responses and response"),
        ([ONE, {**ONE, "response": 1, "rating": 7}], "line 2: rating is 7: a whole number from 1"),
        ([ONE, {**ONE, "response": 1, "rating": [3]}], "line 2: rating is a list: a number"),
        ([{**ONE, "weight": -1}], "weight is -1: a number, finite"),
        ([{"user_id": 1, "response": 0, "rank": 1}], "line 1: a ranking of 1 response"),
        (
            [{"user_id": 1, "response": i, "rank": 1} for i in range(2)],
            "line 1: rank 1 occurs twice for this user and prompt",
        ),
    ],
)
def test_bad_rows_are_refused_with_their_place(tmp_path, rows, message):
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(ValueError, match=message):
        read_answers(path, 4, scale=(1, 5))


def test_one_level_alone_is_refused_and_bad_rows_can_be_skipped(tmp_path):
    path = write(tmp_path / "same.jsonl", [ONE, {**ONE, "response": 1}])
    with pytest.raises(ValueError, match="all 2 ratings are 3: two levels or more"):
        read_answers(path, 4)
    path = write(tmp_path / "rows.jsonl", [*MIXED, {"user_id": 1, "responses": "x"}])
    bad = BadRows(skip=True)
    assert len(read_answers(path, 5, bad=bad).blocks) == 8
    assert bad.count == 1
    assert "line 13: responses is a text: a list is expected" in bad.first[0]


def test_what_a_row_holds():
    assert [holds_answers(row) for row in MIXED] == [
        "strength" in row or "responses" in row or "rank" in row for row in MIXED
    ]
    assert all(map(answers_are_indices, MIXED))
    assert not answers_are_indices({"user_id": 1, "responses": ["a", "b"], "choice": 0})
