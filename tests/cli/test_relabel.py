"""`lore-jax relabel`, and `lore-jax score` on texts, with the encoder of the fit's embeddings."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
from command_line import run

import lore_jax as lore
from experiments.common.tiny_model import write_sentence_encoder
from lore_jax.embed import load_encoder
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import GaussianPrior

PAIRS = [
    {"user_id": "ann", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No, not today.", "mood": 3},
    {"user_id": "bob", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No, not today.", "mood": 4},
    {"user_id": "ann", "prompt": "Milk?", "chosen": "Some.", "rejected": "Oh no."},
]
TEXTS = [
    {"prompt": "Tea?", "replies": ["Yes.", "No.", "Perhaps later."]},
    {"prompt": None, "replies": ["Clean water."], "user_id": "bob"},
    {"prompt": [{"role": "user", "content": "Milk?"}], "replies": ["A.", "B."], "user_id": ["ann"]},
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A model of two users who disagree about everything, its encoder, and another encoder."""
    root = tmp_path_factory.mktemp("good")
    encoder = load_encoder(write_sentence_encoder(root / "encoder"))
    dim = encoder.model.dim
    params = {"V": jnp.asarray(np.random.default_rng(0).normal(size=(dim, 1)), jnp.float32)}
    prior = GaussianPrior(jnp.zeros(1), jnp.ones((1, 1)))
    model = Model(LinearBasis(1), params, jnp.asarray(0.1), prior)
    weights = np.array([[1.0], [-1.0]], np.float32)
    nothing = [np.zeros(2, np.int32) for _ in range(4)]
    users = Posterior(
        weights, np.full((2, 1, 1), 0.01, np.float32), *nothing, user_ids=np.array(["ann", "bob"])
    )
    lore.save(root / "users", model, users, encoder=encoder.describe())
    other = write_sentence_encoder(root / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    return root, model, users, encoder


@pytest.fixture
def here(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, rows in (("pairs.jsonl", PAIRS), ("texts.jsonl", TEXTS)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path, *map(str, (good[0] / "users", good[0] / "encoder", good[0] / "other"))


def test_pairs_are_ordered_for_each_rows_user(here, good, capsys):
    folder, users, encoder, _ = here
    run(capsys, "relabel", users, "pairs.jsonl", "--encoder", encoder, "--out", "out.jsonl")
    rows = list(map(json.loads, (folder / "out.jsonl").read_text().splitlines()))
    _, model, posterior, loaded = good
    for row, before in zip(rows, PAIRS, strict=True):
        assert {row["chosen"], row["rejected"]} == {before["chosen"], before["rejected"]}
        texts = [row["chosen"], row["rejected"]]
        scores = lore.score_texts(model, posterior, loaded, row["prompt"], texts)
        own = scores[["ann", "bob"].index(row["user_id"])]
        assert own[0] > own[1]
        assert row["weight"] == pytest.approx(2 * row["probability"] - 1, abs=1e-5)
        assert row.get("mood") == before.get("mood")
    assert rows[0]["chosen"] == rows[1]["rejected"]  # they disagree
    text = run(
        *(capsys, "relabel", users, "pairs.jsonl", "--encoder", encoder, "--out", "bob.jsonl"),
        *("--user", "bob", "--min-weight", "1", "--json"),
    )
    assert json.loads(text)["pairs"] == 3
    assert json.loads(text)["written"] == 0


def test_texts_are_embedded_and_scored(here, good, capsys):
    folder, users, encoder, _ = here
    run(capsys, "score", users, "texts.jsonl", "--encoder", encoder, "--out", "best.jsonl")
    rows = list(map(json.loads, (folder / "best.jsonl").read_text().splitlines()))
    assert len(rows) == 2 * 3 + 1 + 2
    _, model, posterior, loaded = good
    for number, asked in enumerate(TEXTS):
        scores = lore.score_texts(model, posterior, loaded, asked["prompt"], asked["replies"])
        for row in (row for row in rows if row["prompt"] == number):
            user = ["ann", "bob"].index(row["user_id"])
            expected = scores[user, asked["replies"].index(row["reply"])]
            assert row["score"] == pytest.approx(expected, abs=1e-4)
    best = [row["reply"] for row in rows if row["prompt"] == 0 and row["rank"] == 1]
    assert best[0] != best[1]
    assert {row["user_id"] for row in rows if row["prompt"] == 2} == {"ann"}


def rows_of(*objects):
    return "".join(json.dumps(row) + "\n" for row in objects)


RELABEL, SCORE = ("relabel", "bad.jsonl"), ("score", "bad.jsonl")


@pytest.mark.parametrize(
    ("command", "row", "options", "message"),
    [
        (RELABEL, {**PAIRS[0], "user_id": "eve"}, [], "line 1: user 'eve' is not among the users"),
        (RELABEL, PAIRS[0], ["--user", "eve"], "user 'eve' is not among"),
        (RELABEL, {**PAIRS[0], "rejected": "Yes."}, [], "line 1: chosen equals rejected"),
        (RELABEL, {**PAIRS[0], "rejected": " "}, [], "line 1: rejected is an empty reply"),
        (RELABEL, {"prompt": "Tea?"}, [], "line 1: 'chosen', 'rejected', 'user_id' missing"),
        (RELABEL, PAIRS[0], ["--min-weight", "2"], "min_weight is 2.0: 0 to 1"),
        (RELABEL, PAIRS[0], ["--encoder", "OTHER"], "other is another encoder than that of"),
        (SCORE, TEXTS[0], ["--encoder", "OTHER"], "other is another encoder than that of"),
        (SCORE, {**TEXTS[0], "user_id": "eve"}, [], "line 1: user 'eve' has no weights"),
        (SCORE, {**TEXTS[0], "replies": []}, [], "line 1: replies is 0 texts: a list of 1 or more"),
        (SCORE, {**TEXTS[0], "replies": ["Yes.", ""]}, [], "line 1: reply 1 is empty"),
        (SCORE, {**TEXTS[0], "replies": "Yes."}, [], "line 1: replies is 'Yes.'"),
        (SCORE, {"prompt": "Tea?"}, [], "line 1: 'replies' missing"),
        (SCORE, TEXTS[0], None, "bad.jsonl holds texts: --encoder must name"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(here, capsys, command, row, options, message):
    folder, users, encoder, other = here
    (folder / "bad.jsonl").write_text(rows_of(row))
    words = [] if options is None else ["--encoder", encoder, *options]
    words = [other if word == "OTHER" else word for word in words]
    before = sorted(folder.rglob("*"))
    error = run(capsys, command[0], users, command[1], *words, "--out", "out.jsonl", status=2)
    assert re.fullmatch(r"lore-jax: [^\n]+\n", error)
    assert re.search(message, error)
    assert sorted(folder.rglob("*")) == before


def test_an_array_is_not_embedded(here, capsys):
    _, users, encoder, _ = here
    np.save("table.npy", np.ones((2, 3)))
    words = ["score", users, "table.npy", "--encoder", encoder, "--out", "out.jsonl"]
    assert "encoder is given for table.npy" in run(capsys, *words, status=2)
