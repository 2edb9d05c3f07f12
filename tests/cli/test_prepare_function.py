"""`lore-jax prepare`: what it writes, and what it says about it."""

import json

import numpy as np
import pytest

from lore_jax.cli.prepare import Config, lines, run
from lore_jax.storage.cache.reader import load_cache, read_texts

ROWS = [
    {"user_id": "ann", "prompt": "Colour?", "chosen": "Blue.", "rejected": "Red."},
    {"user_id": "bob", "prompt": "Colour?", "chosen": "Red.", "rejected": "Green."},
    {"user_id": "bob", "prompt": "Colour?", "chosen": "Red.", "rejected": "Green."},
]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_comparisons_and_an_array_become_a_cache(source, tmp_path):
    np.save(tmp_path / "table.npy", np.eye(3))
    np.save(tmp_path / "head.npy", np.arange(3.0))
    config = Config(
        (source,),
        out=tmp_path / "cache",
        embeddings=tmp_path / "table.npy",
        encoder="eye",
        head=tmp_path / "head.npy",
    )
    result = run(config)
    prefs = load_cache(tmp_path / "cache")
    assert prefs.embeddings.dtype == np.float32  # float64 is not stored
    np.testing.assert_array_equal(prefs.embeddings, np.eye(3))
    np.testing.assert_array_equal(prefs.head, [0, 1, 2])
    np.testing.assert_array_equal(prefs.chosen, [0, 1, 1])
    np.testing.assert_array_equal(prefs.rejected, [1, 2, 2])
    assert [reply for _, reply in read_texts(tmp_path / "cache")] == ["Blue.", "Red.", "Green."]
    assert lines(result) == [
        str(tmp_path / "cache"),
        "  3 responses, dim 3, float32, by eye",
        "  3 pairs by 2 users on 1 prompts",
        "  1 duplicated rows, kept",
    ]


def test_responses_are_listed_in_the_order_of_the_table(source, tmp_path):
    listed = tmp_path / "responses.jsonl"
    result = run(Config((source,), list_responses=listed))
    assert lines(result) == [f"{listed}: 3 responses; embed them in this order, one row a line"]
    replies = [json.loads(line)["reply"] for line in listed.read_text().splitlines()]
    assert replies == ["Blue.", "Red.", "Green."]
    with pytest.raises(FileExistsError, match=r"responses.jsonl is there already"):
        run(Config((source,), list_responses=listed))
    with pytest.raises(ValueError, match="has no texts to list"):
        run(Config((tmp_path,), list_responses=tmp_path / "other.jsonl"))


def test_embeddings_come_from_one_place(source, tmp_path):
    with pytest.raises(ValueError, match="--out is missing"):
        run(Config((source,)))
    with pytest.raises(ValueError, match="--embeddings and --cache are both given"):
        run(Config((source,), out=tmp_path / "c", embeddings=tmp_path, cache=tmp_path))
