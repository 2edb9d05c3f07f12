"""Preference files: every spelling gives the same pairs; every bad row is refused in one line with
its place.
"""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lore_jax.datasets.formats.records import BadRows
from lore_jax.datasets.formats.rows import read_index_pairs, read_text_pairs

USER = {"role": "user", "content": "Name a colour."}
SYSTEM = {"role": "system", "content": "Be brief."}


def reply(text):
    return {"role": "assistant", "content": text}


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(**changes):
    return {
        "user_id": "ann",
        "prompt": "Name a colour.",
        "chosen": "Blue.",
        "rejected": "Red.",
        **changes,
    }


def without(name, **changes):
    return {key: value for key, value in row(**changes).items() if key != name}


SPELLINGS = {
    "strings": row(),
    "prompt as messages": row(prompt=[USER]),
    "replies as messages": row(chosen=[reply("Blue.")], rejected=[reply("Red.")]),
    "conversations": row(chosen=[USER, reply("Blue.")], rejected=[USER, reply("Red.")]),
    "conversations, no prompt": without(
        "prompt", chosen=[USER, reply("Blue.")], rejected=[USER, reply("Red.")]
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("system", ["none", "column", "message"])
def test_spellings_agree(tmp_path, name, system):
    one = dict(SPELLINGS[name])
    if system == "column":
        one["system"] = SYSTEM["content"]
    if system == "message":
        if isinstance(one.get("prompt"), str):
            one["prompt"] = [USER]
        for key in ("prompt", "chosen", "rejected"):
            if isinstance(one.get(key), list) and one[key][0] == USER:
                one[key] = [SYSTEM, *one[key]]
    pairs = read_text_pairs(write_jsonl(tmp_path / "pairs.jsonl", [one]))
    prompt = [USER] if system == "none" else [SYSTEM, USER]
    assert [tuple(response) for response in pairs.responses] == [
        (prompt, "Blue."),
        (prompt, "Red."),
    ]
    assert (pairs.chosen.tolist(), pairs.rejected.tolist(), pairs.user_ids) == ([0], [1], ["ann"])


def test_distinct_responses_are_kept_once(tmp_path):
    rows = [
        row(note="first"),
        row(user_id=7, chosen="Red.", rejected="Blue.", weight=0.5),
        row(),
        row(prompt="Name a fruit.", chosen="Fig.", rejected="Blue."),
    ]
    pairs = read_text_pairs(write_jsonl(tmp_path / "pairs.jsonl", rows))
    assert [response.reply for response in pairs.responses] == ["Blue.", "Red.", "Fig.", "Blue."]
    assert pairs.responses[0].prompt is pairs.responses[1].prompt
    np.testing.assert_array_equal(pairs.chosen, [0, 1, 0, 2])
    np.testing.assert_array_equal(pairs.rejected, [1, 0, 1, 3])
    np.testing.assert_array_equal(pairs.user, [0, 1, 0, 0])
    np.testing.assert_array_equal(pairs.prompt, [0, 0, 0, 1])
    np.testing.assert_array_equal(pairs.pair_weight, np.float32([1, 0.5, 1, 1]))
    assert pairs.user_ids == ["ann", "7"]
    assert pairs.num_duplicates == 1
    assert pairs.extra == [{"note": "first"}, {}, {}, {}]
    prefs = pairs.preferences(np.eye(4, dtype=np.float32))
    assert (prefs.num_pairs, prefs.num_users) == (4, 2)


def test_parquet_and_jsonl_agree(tmp_path):
    rows = [
        row(prompt_id="a", chosen=[reply("Blue.")], rejected=[reply("Red.")], when=3),
        row(
            prompt_id="a",
            chosen=[reply("Green.")],
            rejected=[reply("Blue.")],
            when=None,
            user_id="bob",
        ),
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    one, other = (
        read_text_pairs(path)
        for path in (tmp_path / "pairs.parquet", write_jsonl(tmp_path / "pairs.jsonl", rows))
    )
    assert one.responses == other.responses
    assert one.extra == other.extra
    for name in ("chosen", "rejected", "user", "prompt", "pair_weight"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_prompt_id_numbers_the_prompts(tmp_path):
    rows = [
        row(prompt_id="dialogue 1"),
        row(prompt_id="dialogue 2"),
        row(prompt="And a fruit?", prompt_id="dialogue 1"),
    ]
    pairs = read_text_pairs(write_jsonl(tmp_path / "pairs.jsonl", rows))
    np.testing.assert_array_equal(pairs.prompt, [0, 1, 0])


def test_blank_lines_and_byte_order_mark_are_skipped(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(row()).encode() + b"\n\n" + json.dumps(row()).encode()
    )
    assert read_text_pairs(path).num_duplicates == 1


def test_index_rows(tmp_path):
    rows = [{"user_id": 3, "chosen": 4, "rejected": 0, "prompt": p} for p in ("x", "y", "x")]
    path = write_jsonl(tmp_path / "pairs.jsonl", rows)
    pairs = read_index_pairs(path, 5)
    np.testing.assert_array_equal(pairs.prompt, [0, 1, 0])
    assert pairs.num_duplicates == 2
    prefs = pairs.preferences(np.eye(5, dtype=np.float32))
    np.testing.assert_array_equal(prefs.chosen, [4, 4, 4])
    assert prefs.user_ids is not None
    assert prefs.user_ids.tolist() == ["3"]


# what stands in line 17 of a file, and the message about it
BAD_ROWS = {
    "no user column": (
        without("user_id"),
        "column 'user_id' is missing; found 'prompt', 'chosen', 'rejected'",
    ),
    "misspelt column": (
        without("chosen", choosen="x"),
        "column 'chosen' is missing.*is 'choosen' meant for it",
    ),
    "no prompt column": (
        without("prompt", promt="x"),
        "column 'prompt' is missing.*is 'promt' meant for it",
    ),
    "null user": (row(user_id=None), "user_id is null"),
    "empty user": (row(user_id=" "), "user_id is empty"),
    "fractional user": (row(user_id=1.5), "user_id is a number"),
    "weight as text": (row(weight="1"), "weight is '1'"),
    "negative weight": (row(weight=-1), "weight is -1"),
    "nan weight": (row(weight=float("nan")), "weight is nan"),
    "prompt_id only here": (row(prompt_id="x"), "prompt_id is given, unlike in the rows before"),
    "null reply": (row(rejected=None), "rejected is null"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_row_is_refused_with_its_line(tmp_path, name):
    bad, message = BAD_ROWS[name]
    path = write_jsonl(tmp_path / "pairs.jsonl", [row()] * 16 + [bad])
    with pytest.raises(ValueError, match=rf"pairs.jsonl line 17: .*{message}") as caught:
        read_text_pairs(path)
    assert "\n" not in str(caught.value)


BAD_LINES = {
    "html": (b"<!DOCTYPE html><html>", "is HTML or XML, not JSONL"),
    "truncated": (json.dumps(row()).encode()[:40], "not a whole JSON object"),
    "not utf-8": (b'{"user_id": "\xe9"}', "byte 13 is not UTF-8 text"),
    "an array": (b"[1, 2]", "a list: one JSON object a line"),
    "deep": (b"[" * 100_000, "not a whole JSON object"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_line_is_refused_with_its_number(tmp_path, name):
    bad, message = BAD_LINES[name]
    path = tmp_path / "pairs.jsonl"
    path.write_bytes((json.dumps(row()) + "\n").encode() * 2 + bad)
    with pytest.raises(ValueError, match=f"line 3: .*{message}") as caught:
        read_text_pairs(path)
    assert "\n" not in str(caught.value)


def test_bad_rows_are_skipped_and_counted(tmp_path):
    path, bad = tmp_path / "pairs.jsonl", BadRows(skip=True)
    rows = [row(mood=1), row(user_id=None), row(weight=-1), row(chosen="Green.", mood=2)]
    path.write_text("".join(json.dumps(line) + "\n" for line in rows) + "{\n[1]\n")
    pairs = read_text_pairs(path, bad)
    assert [pairs.responses[number].reply for number in pairs.chosen] == ["Blue.", "Green."]
    assert [extra["mood"] for extra in pairs.extra] == [1, 2]  # of the rows that were kept
    assert bad.count == 4
    places = [f"pairs.jsonl line {line}: {text}" for line, text in ((2, "user"), (3, "weight"))]
    assert all(place in said for place, said in zip(places, bad.first, strict=False))
    assert len(bad.first) == 3
    index, bad = write_jsonl(tmp_path / "index.jsonl", [{"user_id": 1}] * 2), BadRows(skip=True)
    with pytest.raises(ValueError, match=r"index.jsonl holds no rows: 2 bad ones, the first: "):
        read_index_pairs(index, 5, bad)


def test_files_without_rows_are_refused(tmp_path):
    for content, message in ((b"", "is empty"), (b"\n \n", "holds no rows")):
        path = tmp_path / "pairs.jsonl"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_text_pairs(path)
    with pytest.raises(FileNotFoundError, match=r"missing\.jsonl"):
        read_text_pairs(tmp_path / "missing.jsonl")


def test_bad_parquet(tmp_path):
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist([row(), row(user_id=None)]), path)
    with pytest.raises(
        ValueError, match=r"pairs.parquet row 1 \(counted from 0\): user_id is null"
    ):
        read_text_pairs(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is not a whole Parquet file"):
        read_text_pairs(path)


BAD_INDEX_ROWS = {
    "past the table": (
        {"user_id": 1, "chosen": 5, "rejected": 0},
        "chosen is 5, outside the embeddings of 5 rows",
    ),
    "negative": ({"user_id": 1, "chosen": 0, "rejected": -1}, "rejected is -1, outside"),
    "fraction": ({"user_id": 1, "chosen": 0.0, "rejected": 1}, "chosen is a number: an integer"),
    "text": ({"user_id": 1, "chosen": 0, "rejected": "1"}, "rejected is a text: an integer"),
    "bool": ({"user_id": 1, "chosen": True, "rejected": 0}, "chosen is true or false"),
    "equal": ({"user_id": 1, "chosen": 2, "rejected": 2}, "chosen equals rejected \\(row 2\\)"),
}


@pytest.mark.parametrize("name", BAD_INDEX_ROWS)
def test_bad_index_row(tmp_path, name):
    bad, message = BAD_INDEX_ROWS[name]
    path = write_jsonl(tmp_path / "pairs.jsonl", [{"user_id": 1, "chosen": 0, "rejected": 1}, bad])
    with pytest.raises(ValueError, match=f"line 2: {message}"):
        read_index_pairs(path, 5)
