"""Reddit TLDR: rows of the documented schema become the workers' choices; others are refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.common.smoke_data import write_jsonl
from lore_jax.datasets.reddit_tldr import read_reddit_tldr


def write(path, rows):
    write_jsonl(path, rows)
    return path


def comparison(**changes):
    return {
        "info": {
            "id": "t3",
            "post": "A post.",
            "title": "T",
            "subreddit": "s",
            "site": None,
            "article": None,
        },
        "summaries": [
            {"text": " One.", "policy": "p", "note": ""},
            {"text": " Two.", "policy": "p", "note": ""},
        ],
        "choice": 1,
        "worker": "ann",
        "batch": "b",
        "split": "train",
        "extra": {"confidence": 7},
    } | changes


def test_tldr_pairs_are_the_workers_choices(texts_of, tmp_path):
    rows = [
        comparison(),
        comparison(choice=0, split="valid2", worker="bob", extra={"confidence": None}),
        comparison(choice=0, extra=None),
        comparison(info={"id": "cnn", "post": None, "article": "News."}),
        comparison(summaries=[{"text": " Same."}, {"text": "Same. "}]),
        comparison(),
    ]
    published = read_reddit_tldr(write(tmp_path / "comparisons" / "batch3.json", rows).parent)
    assert [texts_of(published, pair) for pair in range(3)] == [
        (["A post."], "Two.", "One."),
        (["A post."], "One.", "Two."),
        (["A post."], "One.", "Two."),
    ]
    assert published.column("split").tolist() == ["train", "validation", "train", "train"]
    assert published.column("confidence").tolist() == [7, None, None, 7]
    assert published.pairs.user_ids == ["ann", "bob"]
    assert len(published.pairs.responses) == 2  # equal texts share one row
    assert published.counts == {
        "rows": 6,
        "rows dropped: no post": 1,
        "pairs dropped: equal replies": 1,
        "duplicated pairs, kept": 1,
    }


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl"])
def test_tldr_reads_every_published_form(texts_of, tmp_path, kind):
    rows = [comparison(), comparison(choice=0, split="valid1")]
    table = pa.Table.from_pylist(rows)
    if kind == "parquet":
        pq.write_table(table, tmp_path / "train.parquet")
    elif kind == "arrow":
        with pa.ipc.new_stream(tmp_path / "data-00000-of-00001.arrow", table.schema) as stream:
            stream.write_table(table)
        (tmp_path / "dataset_info.json").write_text("{}")
    else:
        write(tmp_path / "rows.jsonl", rows)
    published = read_reddit_tldr(tmp_path)
    assert [texts_of(published, pair)[1] for pair in (0, 1)] == ["Two.", "One."]


BAD_TLDR = {
    "another schema": (
        {"prompt": "A?", "chosen": "B", "rejected": "C"},
        "'info', 'summaries', 'choice', 'worker', 'split' missing",
    ),
    "says what is there": ({"prompt": "A?", "worker": "x"}, "found 'prompt', 'worker'"),
    "three summaries": (
        comparison(summaries=[{"text": "a"}] * 3),
        "summaries is a list of 3: two objects",
    ),
    "a tie": (comparison(choice=2), "choice is 2: 0 or 1 is expected"),
    "no choice": (comparison(choice=None), "choice is None: 0 or 1"),
    "no worker": (comparison(worker=None), "worker is null: a text is expected"),
    "unknown split": (comparison(split="dev"), "split is 'dev': 'train', 'valid1' or 'valid2'"),
    "info as text": (comparison(info="post"), "info is a text and summaries is a list"),
}


@pytest.mark.parametrize("name", BAD_TLDR)
def test_bad_comparisons_are_refused_with_their_place(tmp_path, name):
    row, message = BAD_TLDR[name]
    file = write(tmp_path / "batch.json", [comparison(), row])
    with pytest.raises(ValueError, match=message) as error:
        read_reddit_tldr(file)
    assert str(error.value).startswith(f"{file} line 2")
    assert "\n" not in str(error.value)


def test_nothing_left_says_what_was_dropped(tmp_path):
    file = write(tmp_path / "batch.json", [comparison(info={"post": None})] * 3)
    with pytest.raises(ValueError, match="holds no pair: 3 rows, 3 rows dropped: no post"):
        read_reddit_tldr(file)
