"""Ratings become pairs: against all pairs one by one, in every spelling; bad rows are refused."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lore_jax.datasets.formats.ratings import (
    is_index,
    pairs_of_ratings,
    rating_columns,
    read_index_ratings,
    read_text_ratings,
)
from lore_jax.datasets.formats.records import BadRows

HOW = {"seed": 0, "max_pairs": 60}


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


@given(
    ratings=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=12),
    max_pairs=st.integers(0, 80),
)
def test_all_pairs_of_one_group_with_unequal_ratings_are_drawn_from(ratings, max_pairs):
    group, rating = np.array(ratings).T
    every = {
        (high, low)
        for high, low in itertools.permutations(range(len(ratings)), 2)
        if group[high] == group[low] and rating[high] > rating[low]
    }
    rng = np.random.default_rng(0)
    high, low = pairs_of_ratings(group, rating.astype(float), max_pairs, rng)
    drawn = list(zip(high.tolist(), low.tolist(), strict=True))
    assert len(set(drawn)) == len(drawn) == min(max_pairs, len(every))
    assert set(drawn) <= every


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize(
    ("response", "rating", "values"),
    [
        ("completion", "label", [True, False, True]),
        ("response", "rating", [5, 1, 4]),
        ("reply", "score", [0.5, -2.0, 0.25]),
        ("text", "vote", ["up", "Down", "UP"]),
        ("text", "vote", ["1", "-1", "1"]),
    ],
)
def test_columns_and_values_of_all_kinds(tmp_path, suffix, response, rating, values):
    rows = [
        {"user_id": "ann", "prompt": "Colour?", response: reply, rating: value}
        for reply, value in zip(("Blue.", "Red.", "Green."), values, strict=True)
    ]
    assert rating_columns(rows[0]) == (response, rating)
    pairs = read_text_ratings(write(tmp_path / f"rows{suffix}", rows), **HOW)
    replies = [row.reply for row in pairs.responses]
    assert replies == ["Blue.", "Red.", "Green."]
    found = {(replies[up], replies[down]) for up, down in zip(pairs.chosen, pairs.rejected)}  # noqa: B905
    assert {("Blue.", "Red."), ("Green.", "Red.")} <= found
    assert (len(found) == 3) == (len(set(values)) == 3 and rating != "vote")
    assert pairs.responses[0].prompt == [{"role": "user", "content": "Colour?"}]


def test_pairs_are_of_one_user_and_one_prompt(tmp_path):
    rows = [
        {"user_id": user, "prompt": prompt, "response": f"{reply}", "rating": reply}
        for user in ("ann", "bob")
        for prompt in ("Tea?", "Pie?")
        for reply in (1, 2, 2)
    ]
    rows.append({"user_id": "cat", "prompt": "Tea?", "response": "only one", "rating": 3})
    pairs = read_text_ratings(write(tmp_path / "rows.jsonl", rows), **HOW)
    assert pairs.user_ids == ["ann", "bob", "cat"]
    assert sorted(zip(pairs.user.tolist(), pairs.prompt.tolist(), strict=True)) == [
        (0, 0), (0, 1), (1, 0), (1, 1),
    ]  # fmt: skip
    assert all(pairs.responses[up].prompt == pairs.responses[down].prompt
               for up, down in zip(pairs.chosen, pairs.rejected, strict=True))  # fmt: skip
    # The second "2" of each replaced the first; nobody else rated "only one".
    assert pairs.counts == {"replaced_ratings": 4}
    assert pairs.note == "9 ratings 1 to 3 of 3 users on 5 responses became 4 pairs."


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_rows_of_an_array_answer_one_prompt_without_a_column(tmp_path, suffix):
    votes = [{"user_id": 1, "response": row, "label": int(row > 3)} for row in range(6)]
    assert is_index(votes[0]["response"])
    path = write(tmp_path / f"votes{suffix}", votes)
    pairs = read_index_ratings(path, 6, seed=0, max_pairs=5)
    assert len(pairs.user) == 5
    assert set(pairs.chosen) <= {4, 5}
    assert set(pairs.prompt) == {0}
    assert pairs.note == "6 ratings up or down of 1 users on 6 responses became 5 pairs."
    again = read_index_ratings(path, 6, seed=0, max_pairs=5)
    np.testing.assert_array_equal(again.chosen, pairs.chosen)
    with pytest.raises(ValueError, match="response is 5, outside the embeddings of 5 rows"):
        read_index_ratings(path, 5, **HOW)


def test_a_reply_may_be_a_message_and_a_prompt_may_be_left_out(tmp_path):
    rows = [
        {"user_id": "ann", "completion": [{"role": "assistant", "content": text}], "label": good}
        for text, good in (("Yes.", True), ("No.", False))
    ]
    pairs = read_text_ratings(write(tmp_path / "rows.jsonl", rows), **HOW)
    assert [(row.prompt, row.reply) for row in pairs.responses] == [([], "Yes."), ([], "No.")]


def good(**changes):
    row = {"user_id": "ann", "prompt": "Colour?", "response": "Blue.", "rating": 3}
    return {**row, **changes}


BAD_ROWS = {
    "no user": ({"prompt": "p", "response": "r", "rating": 1}, "column 'user_id' is missing"),
    "no rating": ({"user_id": "ann", "response": "r"}, "column 'rating' is missing"),
    "a word": (good(rating="fine"), "rating is 'fine': a number, true or false, up or down"),
    "null": (good(rating=None), "rating is null: a number"),
    "not a number": (good(rating=float("nan")), "rating is nan: a number"),
    "a list": (good(rating=[1]), "rating is a list: a number"),
    "empty": (good(response=" "), "response is an empty reply"),
    "a number": (good(response=1.5), "response is a number: a text"),
    "a conversation": (
        good(response=[{"role": "user", "content": "Hi"}]),
        "response has 1 messages: one reply is expected",
    ),
    "no prompt": (good(prompt=" "), "prompt is empty"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_refused_with_its_line_or_skipped(tmp_path, name):
    row, message = BAD_ROWS[name]
    rows = [good(), good(response="Red.", rating=1), row]
    path, bad = write(tmp_path / "rows.jsonl", rows), BadRows(skip=True)
    with pytest.raises(ValueError, match=f"rows.jsonl line 3: {message}"):
        read_text_ratings(path, **HOW)
    assert len(read_text_ratings(path, **HOW, bad=bad).user) == 1
    assert bad.count == 1


def test_equal_ratings_alone_are_refused(tmp_path):
    path = write(tmp_path / "rows.jsonl", [good(), good(response="Red.")])
    with pytest.raises(ValueError, match="2 ratings 3 to 3 of 1 users on 2 responses make no pair"):
        read_text_ratings(path, **HOW)


def kto(user, prompt, reply, label):
    return {"user_id": user, "prompt": prompt, "completion": reply, "label": label}


def test_one_rating_a_prompt_makes_pairs_across_prompts(tmp_path):
    rows = [
        kto(user, f"Question {at}?", f"Answer {at}.", at != 1)
        for user in ("ann", "bob", "eve")
        for at in range(3)
    ]
    # That one user rates two replies to a prompt does not keep the others from being used.
    rows.append(kto("ann", "Question 0?", "No.", False))
    found = read_text_ratings(write(tmp_path / "kto.jsonl", rows), **HOW)
    assert found.across_prompts
    assert found.note == (
        "10 ratings up or down of 3 users on 4 responses became 8 pairs. "
        "Most users rated one reply a prompt: pairs are of replies to different prompts."
    )
    replies = [response.reply for response in found.responses]
    pairs = zip(found.chosen, found.rejected, found.user, strict=True)
    drawn = {(replies[high], replies[low], int(user)) for high, low, user in pairs}
    lower = {0: ("Answer 1.", "No."), 1: ("Answer 1.",), 2: ("Answer 1.",)}
    expected = {(f"Answer {at}.", low, u) for u in lower for at in (0, 2) for low in lower[u]}
    assert drawn == expected
    # Where most users do, pairs answer one prompt.
    rows.append(kto("bob", "Question 0?", "No.", False))
    within = read_text_ratings(write(tmp_path / "more.jsonl", rows), **HOW)
    assert not within.across_prompts
    assert len(within.chosen) == 2
