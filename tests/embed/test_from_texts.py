"""from_texts: every shape that people have their comparisons in gives the same preferences."""

import json

import numpy as np
import pytest

import lore_jax as lore
from lore_jax.cli.main import main
from lore_jax.datasets.formats.records import data_files

SIDES = ("chosen", "rejected")
ROWS = [
    {
        "user_id": f"user {user}",
        "prompt": [{"role": "user", "content": f"Question {number}?"}],
        "chosen": [{"role": "assistant", "content": f"Answer {(number + user) % 4}."}],
        "rejected": [{"role": "assistant", "content": f"Answer {(number + user + 1) % 4}."}],
    }
    for user in range(3)
    for number in range(4)
]
PLAIN = [
    {name: value if name == "user_id" else value[0]["content"] for name, value in row.items()}
    for row in ROWS
]
LABELLED = [
    {"user_id": row["user_id"], "prompt": row["prompt"], "completion": row[side], "label": label}
    for row in PLAIN
    for side, label in zip(SIDES, (True, False), strict=True)
]


def encode(texts):
    """Three numbers that depend on every character."""
    codes = [np.frombuffer(text.encode(), np.uint8).astype(float) for text in texts]
    return np.array(
        [[code.sum(), len(code), (code * np.arange(len(code))).sum()] for code in codes]
    )


EXPECTED = lore.from_texts(ROWS, encode)


def same(prefs):
    for name in ("chosen", "rejected", "user", "prompt", "user_ids", "pair_weight"):
        np.testing.assert_array_equal(getattr(prefs, name), getattr(EXPECTED, name))
    np.testing.assert_array_equal(np.asarray(prefs.embeddings), EXPECTED.embeddings)
    return True


def frame(rows):
    return pytest.importorskip("pandas").DataFrame(rows)


def write_jsonl(folder):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def write_csv(folder):  # pandas spells lists as Python does
    frame(ROWS).to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def write_json_cells(folder):
    cells = [
        {name: json.dumps(v) if name != "user_id" else v for name, v in r.items()} for r in ROWS
    ]
    frame(cells).to_csv(folder / "cells.csv", index=False)
    return folder / "cells.csv"


def write_parquet(folder):
    frame(ROWS).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def write_saved_folder(folder):
    """As `datasets.save_to_disk` leaves it."""
    import pyarrow

    table = pyarrow.Table.from_pylist(ROWS)
    saved = folder / "saved"
    saved.mkdir()
    with (
        pyarrow.OSFile(str(saved / "data-00000-of-00001.arrow"), "wb") as sink,
        pyarrow.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    (saved / "state.json").write_text("{}")
    (saved / "dataset_info.json").write_text("{}")
    assert len(data_files(saved)) == 1
    return saved


def arrow(rows):
    return pytest.importorskip("pyarrow").Table.from_pylist(rows)


WHOLE = [
    {"user_id": row["user_id"], **{side: row["prompt"] + row[side] for side in SIDES}}
    for row in ROWS
]
BOTH = [{**row, "prompt": full["prompt"]} for row, full in zip(WHOLE, ROWS, strict=True)]


def polars(rows):
    return pytest.importorskip("polars").DataFrame(rows)


def dataset(rows):
    library = pytest.importorskip("datasets")
    if not hasattr(library, "Dataset"):  # the folder of tests of that name
        pytest.skip("datasets is not installed")
    return library.Dataset.from_list(rows)


SHAPES = {
    "list": lambda folder: ROWS,
    "generator": lambda folder: iter(ROWS),
    "plain texts": lambda folder: PLAIN,
    "pandas": lambda folder: frame(ROWS),
    "pandas, plain": lambda folder: frame(PLAIN),
    "Arrow table": lambda folder: arrow(ROWS),
    "JSONL": write_jsonl,
    "CSV of pandas": write_csv,
    "CSV of JSON": write_json_cells,
    "Parquet": write_parquet,
    "save_to_disk": write_saved_folder,
    "Polars": lambda folder: polars(PLAIN),
    "Dataset": lambda folder: dataset(ROWS),
    # TRL's forms beside an explicit prompt, conversational (`ROWS`) or plain (`PLAIN`).
    "implicit prompt": lambda folder: WHOLE,
    "prompt given and repeated": lambda folder: BOTH,
}
# What says how good each reply is; pairs are made of it.
JUDGED = {
    "TRL's KTO": lambda good: {"label": good},
    "votes": lambda good: {"vote": "up" if good else "down"},
    "ratings": lambda good: {"rating": 5 if good else 2},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same(shape, tmp_path):
    assert same(lore.from_texts(SHAPES[shape](tmp_path), encode))


def judged(name):
    """`LABELLED`, spelt in another way."""
    rows = [{key: value for key, value in row.items() if key != "label"} for row in LABELLED]
    labels = [JUDGED[name](row["label"]) for row in LABELLED]
    return [{**row, **label} for row, label in zip(rows, labels, strict=True)]


def as_said(prefs):
    """Who prefers which embedding to which, in no order."""
    sides = (np.asarray(prefs.embeddings)[rows].tolist() for rows in (prefs.chosen, prefs.rejected))
    pairs = zip(prefs.user, *sides, strict=True)
    return {(str(prefs.user_ids[user]), tuple(one), tuple(two)) for user, one, two in pairs}


@pytest.mark.parametrize("name", JUDGED)
def test_judged_replies_become_pairs(name):
    prefs = lore.from_texts(judged(name), encode)
    assert prefs.num_pairs == len(PLAIN)
    assert sorted(prefs.user_ids) == sorted(EXPECTED.user_ids)
    assert as_said(prefs) == as_said(EXPECTED)


@pytest.mark.parametrize(
    "shape", ["JSONL", "CSV of pandas", "CSV of JSON", "Parquet", "save_to_disk"]
)
def test_files_and_embeddings_of_ones_own_give_the_same(shape, tmp_path, capsys):
    source, listed = str(SHAPES[shape](tmp_path)), tmp_path / "responses.jsonl"
    assert main(["prepare", source, "--list-responses", str(listed)]) == 0
    rows = [json.loads(line) for line in listed.read_text().splitlines()]
    texts = ["\n\n".join([row["prompt"][0]["content"], row["reply"]]) for row in rows]
    np.save(tmp_path / "table.npy", encode(texts))
    given = ["--embeddings", str(tmp_path / "table.npy"), "--encoder", "sums"]
    assert main(["prepare", source, *given, "--out", str(tmp_path / "cache")]) == 0
    assert same(lore.load_cache(tmp_path / "cache"))


def test_a_cache_keeps_ratings_as_they_were_said(tmp_path):
    lore.from_texts(LABELLED, encode, cache=tmp_path / "cache", encoder="sums")
    (block,) = lore.load_feedback(tmp_path / "cache").blocks
    rated = {(row["user_id"], row["prompt"], row["completion"]) for row in LABELLED}
    assert (block.kind.name, len(block)) == ("rating", len(rated))


def test_distinct_texts_are_encoded_once_and_with_their_prompt():
    seen = []

    def spy(texts):
        seen.extend(texts)
        return encode(texts)

    lore.from_texts(ROWS, spy)
    assert len(seen) == len(set(seen)) == EXPECTED.num_responses
    assert seen[0] == "Question 0?\n\nAnswer 0."


def test_users_are_called_anything_that_names_them():
    names = [("ann", 1), 7, "bob"]
    rows = [{**row, "user_id": names[int(row["user_id"][-1])]} for row in ROWS]
    assert lore.from_texts(rows, encode).user_ids.tolist() == ["('ann', 1)", "7", "bob"]


def test_what_a_cache_holds_is_not_encoded_again(tmp_path):
    calls = []

    def spy(texts):
        calls.append(len(texts))
        return encode(texts)

    for _ in range(2):
        assert same(lore.from_texts(ROWS, spy, cache=tmp_path / "cache", encoder="sums"))
    assert sum(calls) == EXPECTED.num_responses + 1  # the first one tells the width
    assert same(lore.load_cache(tmp_path / "cache"))
    with pytest.raises(FileExistsError, match="other comparisons, or embeddings of another enc"):
        lore.from_texts(ROWS[:-1], spy, cache=tmp_path / "cache", encoder="sums")
    with pytest.raises(FileExistsError, match="other comparisons, or embeddings of another enc"):
        lore.from_texts(ROWS, spy, cache=tmp_path / "cache", encoder="another")


BAD = {
    "too few rows": (lambda texts: encode(texts)[:-1], r"returned \[15, 3\]: \[16, dim\], one row"),
    "a vector": (
        lambda texts: np.zeros(len(texts)),
        r"returned \[16\]: \[16, dim\], one row a tex",
    ),
    "not finite": (lambda texts: encode(texts) * np.nan, "returned nan for the text 'Question 0?"),
    "not numbers": (lambda texts: [["a"]] * len(texts), "numbers are expected"),
}


@pytest.mark.parametrize("problem", BAD)
def test_what_encode_returns_is_checked(problem):
    wrong, message = BAD[problem]
    with pytest.raises(ValueError, match=message):
        lore.from_texts(ROWS, wrong)


def test_what_holds_no_rows_of_texts_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"row 1 of the list .* is a text: a dictionary"):
        lore.from_texts([ROWS[0], "row"], encode)
    with pytest.raises(ValueError, match="holds 'train', 'test': one of them"):
        lore.from_texts({"train": ROWS, "test": ROWS}, encode)
    with pytest.raises(ValueError, match="rows are an integer: a path, a data frame"):
        lore.from_texts(3, encode)
    with pytest.raises(ValueError, match="names rows of a table and holds no texts"):
        lore.from_texts([{"user_id": "ann", "chosen": 0, "rejected": 1}], encode)
    with pytest.raises(ValueError, match=r"row 0 of the list .*: column 'rejected' is missing"):
        lore.from_texts([{"user_id": "ann", "prompt": "Hi", "chosen": "Yes."}], encode)
    with pytest.raises(ValueError, match="the list holds no rows"):
        lore.from_texts([], encode)
    with pytest.raises(ValueError, match="encode returned rows of different lengths"):
        lore.from_texts(ROWS, lambda texts: [[1.0] * (1 + n) for n in range(len(texts))])
    with pytest.raises(ValueError, match="encode is 3: a function of texts, a model's folder"):
        lore.from_texts(ROWS, 3)
    with pytest.raises(ValueError, match="encoder is empty: what encode is called"):
        lore.from_texts(ROWS, encode, cache="nowhere", encoder=" ")
    with pytest.raises(ValueError, match="encoder='its name' is expected"):
        lore.from_texts(ROWS, encode, cache=tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match="no-such-model does not exist: a model's folder"):
        lore.from_texts(ROWS, "no-such-model")
    saved = tmp_path / "splits"
    (saved / "train").mkdir(parents=True)
    (saved / "dataset_dict.json").write_text("{}")
    with pytest.raises(ValueError, match="holds the splits 'train': the folder of one"):
        lore.from_texts(saved, encode)
