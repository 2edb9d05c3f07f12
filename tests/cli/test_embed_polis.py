"""`lore-jax embed`: Polis folders become a cache of distinct statements, resumed bit by bit."""

import csv
import json

import jax
import numpy as np
import pytest

from experiments.common.tiny_model import write_reward_model, write_sentence_encoder
from lore_jax.cli.main import main
from lore_jax.datasets.polis.pairs import polis_pairs, polis_text_pairs
from lore_jax.datasets.polis.votes import read_polis
from lore_jax.datasets.sources import polis_embeddings_in_cache
from lore_jax.embed import EmbedConfig, embed_texts, load_encoder, pairs
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.cache.reader import load_cache, read_texts
from lore_jax.storage.cache.writer import CacheWriter

# Statements of each conversation by comment id; comment 3 is removed. Some texts are repeated, also
# across conversations.
STATEMENTS = {
    "one": [
        "Trees.",
        "More bicycles, please.",
        " Trees. ",
        "Spam.",
        "Cars come first.",
        "Without any vote.",
    ],
    "two": [
        "Taxes are too high.",
        "Trees.",
        "Schools need\ntwo lines.",
        "Spam, too.",
        "Cars come first. ",
    ],
}
DISTINCT = [
    *("Trees.", "More bicycles, please.", "Cars come first.", "Without any vote."),
    *("Taxes are too high.", "Schools need\ntwo lines."),
]


def write_conversation(folder, statements, *, seed):
    """Six voters who vote on everything but the last statement."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    comments = [["comment-id", "moderated", "comment-body"]]
    comments += [[number, -1 if number == 3 else 1, text] for number, text in enumerate(statements)]
    votes = [["timestamp", "comment-id", "voter-id", "vote"]]
    votes += [
        [0, on, voter, rng.choice([-1, 1])]
        for voter in range(6)
        for on in range(len(statements) - 1)
    ]
    for name, rows in (("comments.csv", comments), ("votes.csv", votes)):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, (name, statements) in enumerate(STATEMENTS.items()):
        write_conversation(tmp_path / name, statements, seed=seed)
    return tmp_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sentence_encoder(tmp_path_factory.mktemp("models") / "sentences")


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(folder, EmbedConfig(batch_tokens=256), devices=jax.devices()[:1])


def run(capsys, *arguments, status=0):
    assert main(list(map(str, arguments))) == status
    captured = capsys.readouterr()
    return captured.out if status == 0 else captured.err


def test_raw_folders_become_a_cache(here, folder, encoder, capsys):
    out = json.loads(
        run(capsys, "embed", "one", "two", "--model", folder, "--out", "cache", "--json")
    )
    assert (out["responses"], out["users"], out["removed_statements"]) == (6, 12, 2)
    assert list(read_texts("cache")) == [([], text) for text in DISTINCT]
    prefs = load_cache("cache")
    np.testing.assert_allclose(prefs.embeddings, embed_texts(DISTINCT, encoder), atol=2e-5)
    manifest = read_manifest("cache")
    assert "not choices between a model's replies" in manifest["note"]
    assert manifest["encoder"]["model"] == "sentences"
    assert manifest["encoder"] | {"dtype": None} == encoder.describe() | {"dtype": None}
    # The pairs are those of each conversation read alone, by their texts.
    expected = set()
    for number, name in enumerate(STATEMENTS):
        votes = read_polis(name)
        alone = polis_pairs(votes, np.zeros((len(votes.texts), 1), np.float32), seed=0)
        for user, chosen, rejected in zip(alone.user, alone.chosen, alone.rejected, strict=True):
            expected.add((alone.user_ids[user], number, votes.texts[chosen], votes.texts[rejected]))
    columns = (prefs.user, prefs.prompt, prefs.chosen, prefs.rejected)
    stored = [
        (prefs.user_ids[u], p, DISTINCT[c], DISTINCT[r])
        for u, p, c, r in zip(*columns, strict=True)
    ]
    assert len(stored) == len(set(stored)) > 10
    assert set(stored) == expected
    text = run(capsys, "embed", "one", "two", "--model", folder, "--out", "cache", "--overwrite")
    assert "2 statements removed by moderators" in text
    assert "not choices between a model's replies" in text


def test_statements_are_found_by_their_texts(here, folder, encoder, capsys):
    run(capsys, "embed", "one", "two", "--model", folder, "--out", "cache")
    votes = {name: read_polis(name) for name in STATEMENTS}
    for asked in (["one", "two"], ["two"]):
        embedded = polis_embeddings_in_cache("cache", [votes[name] for name in asked])
        assert embedded.encoder == read_manifest("cache")["encoder"]
        for name in asked:
            np.testing.assert_allclose(
                embedded.of(votes[name]), embed_texts(votes[name].texts, encoder), atol=2e-5
            )
    # `prepare` looks them up as well, and what it writes can be looked up again.
    run(capsys, "prepare", "two", "--cache", "cache", "--out", "prepared")
    assert read_manifest("prepared")["encoder"] == read_manifest("cache")["encoder"]
    again = polis_embeddings_in_cache("prepared", [votes["two"]])
    np.testing.assert_array_equal(again.of(votes["two"]), embedded.of(votes["two"]))
    run(capsys, "embed", "two", "--model", folder, "--out", "part")
    with pytest.raises(
        ValueError, match=r"^part lacks 2 of 5 responses, the first 'More bicycles, please\.'$"
    ):
        polis_embeddings_in_cache("part", [votes["one"]])


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_stopped_run_goes_on_and_ends_bit_identical(here, folder, capsys, monkeypatch):
    monkeypatch.setattr(pairs, "_ROWS_PER_SHARD", 2)
    command = ["embed", "one", "two", "--model", folder]
    run(capsys, *command, "--out", "whole")
    write_shard = CacheWriter._write_shard

    def full_after_two(self):
        if len(self._shards) == 2:
            raise OSError("No space left on device")
        write_shard(self)

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "_write_shard", full_after_two)
        assert "No space left" in run(capsys, *command, "--out", "cache", status=2)
    assert not (here / "cache").exists()
    # Other conversations are other texts: they do not resume this run.
    assert "with other inputs" in run(
        capsys, "embed", "two", *command[3:], "--out", "cache", status=2
    )
    assert "resumed from row 4" in run(capsys, *command, "--out", "cache")
    assert files_of(here / "cache") == files_of(here / "whole")


def test_what_cannot_be_embedded_is_refused_by_name(here, folder, tmp_path, capsys):
    reward = write_reward_model(tmp_path / "reward")
    error = run(capsys, "embed", "one", "--model", reward, "--out", "cache", status=2)
    assert "comment 0 of one: a text without a prompt: this model reads conversations" in error
    write_conversation(here / "three", ["Trees.", "Fine.", "A <|pad|> inside."], seed=0)
    error = run(capsys, "embed", "one", "three", "--model", folder, "--out", "cache", status=2)
    assert "comment 2 of three: reply holds the special token '<|pad|>'" in error
    error = run(capsys, "embed", "one", "one", "--model", folder, "--out", "cache", status=2)
    assert "the conversation one is given twice" in error
    error = run(
        capsys, "embed", "one", "two/votes.csv", "--model", folder, "--out", "cache", status=2
    )
    assert "votes.csv is not a folder" in error
    assert not list(here.glob("cache*"))


def test_a_conversation_without_voters_has_texts_and_no_pairs(here):
    write_conversation(here / "silent", STATEMENTS["one"], seed=0)
    (here / "silent" / "votes.csv").write_text("timestamp,comment-id,voter-id,vote\n")
    made = polis_text_pairs([read_polis("silent"), read_polis("two")], seed=0)
    assert len(made.responses) == 6
    assert set(made.prompt.tolist()) == {1}
