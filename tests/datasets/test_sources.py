"""Comparisons with embeddings that exist already: arrays, caches, Polis folders."""

import json
from pathlib import Path

import numpy as np
import pytest

from lore_jax.data.splits import hold_out_groups
from lore_jax.datasets.polis.votes import read_polis
from lore_jax.datasets.sources import (
    GivenEmbeddings,
    polis_embeddings_in_cache,
    read_polis_source,
    read_rows_source,
)
from lore_jax.storage.cache.writer import CacheWriter
from lore_jax.storage.safetensors import write_tensors

TEXT_ROWS = [
    {"user_id": "ann", "prompt": "Colour?", "chosen": "Blue.", "rejected": "Red.", "note": 1},
    {"user_id": "bob", "prompt": "Colour?", "chosen": "Red.", "rejected": "Green."},
]
TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TEXT_ROWS))
    np.save("three.npy", TABLE[:3])
    np.save("four.npy", TABLE)
    return tmp_path


def write_cache(path, table, texts):
    with CacheWriter(path, dim=table.shape[1], dtype="float32", encoder={"model": "m"}) as writer:
        writer.append(table)
        writer.finish(chosen=[0], rejected=[1], user=[0], head=np.ones(3, np.float32), texts=texts)


@pytest.mark.usefixtures("here")
def test_texts_with_an_array():
    source = read_rows_source(Path("pairs.jsonl"), GivenEmbeddings(Path("three.npy"), encoder="m"))
    np.testing.assert_array_equal(source.table.array, TABLE[:3])
    assert source.table.encoder == {"model": "m"}
    np.testing.assert_array_equal(source.pairs.chosen, [0, 1])
    np.testing.assert_array_equal(source.pairs.rejected, [1, 2])
    assert [reply for _, reply in source.texts] == ["Blue.", "Red.", "Green."]
    assert (source.extra, source.counts) == ([{"note": 1}, {}], {"duplicated_rows": 0})
    with pytest.raises(ValueError, match=r"four.npy has 4 rows, pairs.jsonl has 3 distinct"):
        read_rows_source(Path("pairs.jsonl"), GivenEmbeddings(Path("four.npy"), encoder="m"))
    with pytest.raises(ValueError, match=r"^--encoder is missing"):
        read_rows_source(Path("pairs.jsonl"), GivenEmbeddings(Path("three.npy")))
    with pytest.raises(ValueError, match=r"^pairs.jsonl holds texts: `lore-jax embed` embeds them"):
        read_rows_source(Path("pairs.jsonl"), GivenEmbeddings())


@pytest.mark.usefixtures("here")
def test_texts_are_looked_up_in_a_cache():
    prompt = [{"role": "user", "content": "Colour?"}]
    texts = [("Colour?", "Green."), (prompt, "Red."), (prompt, "Grey."), (prompt, "Blue.")]
    write_cache("cache", TABLE, texts)
    source = read_rows_source(Path("pairs.jsonl"), GivenEmbeddings(cache=Path("cache")))
    assert source.table.rows.tolist() == [3, 1, 0]
    assert source.table.num_responses == 3
    np.testing.assert_array_equal(source.table.head, [1, 1, 1])
    write_cache("part", TABLE, [("Colour?", reply) for reply in "abcd"])
    with pytest.raises(ValueError, match=r"^part lacks 3 of 3 responses, the first 'Blue\.'$"):
        read_rows_source(Path("pairs.jsonl"), GivenEmbeddings(cache=Path("part")))


@pytest.mark.usefixtures("here")
def test_rows_of_an_array_and_of_a_cache():
    Path("rows.jsonl").write_text('{"user_id": 1, "chosen": 3, "rejected": 0}\n')
    source = read_rows_source(Path("rows.jsonl"), GivenEmbeddings(Path("four.npy"), encoder="m"))
    assert (source.texts, source.extra, source.table.num_responses) == (None, [], 4)
    write_cache("cache", TABLE, [("p", reply) for reply in "abcd"])
    source = read_rows_source(Path("rows.jsonl"), GivenEmbeddings(cache=Path("cache")))
    assert list(source.texts) == [("p", reply) for reply in "abcd"]
    with pytest.raises(ValueError, match=r"--embeddings or --cache is missing$"):
        read_rows_source(Path("rows.jsonl"), GivenEmbeddings())


@pytest.fixture
def folders(here, write_conversation):
    """Two conversations of twenty voters with six texts in common, one of them repeated."""
    rng = np.random.default_rng(0)
    both = [f"Shared {number}." for number in range(6)]
    texts = {"one": [*both, "One only.", " Shared 0."], "two": ["Two only.", *both[::-1]]}
    for name in texts:
        comments = [[0, number, 1, text] for number, text in enumerate(texts[name])]
        votes = [
            [0, comment, voter, rng.choice([-1, 1])]
            for voter in range(20)
            for comment in range(len(comments))
        ]
        write_conversation(name, comments, votes)
    return [here / name for name in texts]


def test_equal_statements_of_polis_folders_are_one_row(folders, here):
    table = np.random.default_rng(1).normal(size=(15, 3)).astype(np.float32)
    np.save("fifteen.npy", table)
    given = GivenEmbeddings(Path("fifteen.npy"), encoder="m")
    source = read_polis_source(folders, given, seed=0, max_pairs=20)
    texts = [reply for _, reply in source.texts]
    assert len(set(texts)) == len(texts) == source.table.num_responses == 8
    statements = [text for folder in folders for text in read_polis(folder).texts]
    assert [statements[row] for row in source.table.rows] == texts
    assert source.table.rows.tolist() == [0, 1, 2, 3, 4, 5, 6, 8]
    # No split by response has a text on both sides, whichever conversations its pairs are from.
    prefs = source.pairs.preferences(table[source.table.rows])
    cut = hold_out_groups(prefs, 0.4, group_by="response", seed=0)
    sides = [
        {texts[row] for column in (prefs.chosen, prefs.rejected) for row in column[keep]}
        for keep in (cut.train, cut.test)
    ]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]
    with pytest.raises(ValueError, match=r"four.npy has 4 rows for 15 statements$"):
        read_polis_source(
            folders, GivenEmbeddings(Path("four.npy"), encoder="m"), seed=0, max_pairs=20
        )


def test_statements_of_polis_folders_by_their_numbers_and_in_a_cache(folders, here):
    conversations = [read_polis(folder) for folder in folders]
    keys = [(votes.conversation, int(c)) for votes in conversations for c in votes.comment_ids]
    statements = [text for votes in conversations for text in votes.texts]
    table = np.stack([np.full(3, sorted(set(statements)).index(t), np.float32) for t in statements])
    write_tensors(here / "embeddings-m.safetensors", {"embeddings": table})
    rows = "".join(f"{name},{comment}\n" for name, comment in keys)
    (here / "embeddings-rows.csv").write_text("conversation,comment-id\n" + rows)
    source = read_polis_source(folders, GivenEmbeddings(), seed=0, max_pairs=20)
    assert source.table.encoder == {"model": "m"}
    np.testing.assert_array_equal(source.table.array, table)
    chosen_table = source.table.array[source.table.rows]
    write_cache("cache", chosen_table, source.texts)
    for votes in conversations:
        embedded = polis_embeddings_in_cache("cache", [votes]).of(votes)
        np.testing.assert_array_equal(
            embedded, table[[statements.index(text) for text in votes.texts]]
        )
    again = read_polis_source(folders, GivenEmbeddings(cache=Path("cache")), seed=0, max_pairs=20)
    np.testing.assert_array_equal(again.table.array[again.table.rows], chosen_table)
    assert again.note == source.note
    assert "not choices between a model's replies" in again.note
