"""`lore-jax ask` where a run knows ties, strengths or ratings: typed words are levels in a file."""

import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from command_line import PREPARE, run

import lore_jax as lore
from lore_jax.cli.ask_kinds import KindAsker
from lore_jax.cli.main import main
from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import AnswerModel
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior

FREE = {"strength 5": jnp.zeros(2), "tie 3": jnp.zeros(1), "rating 5": jnp.array([-1.0, 0, 0, 0])}
WORDS = {
    "strength": "b1\nu\na3\nb2\nn\n",
    "tie": "a\nu\nb\nn\n",
    "rating": "5\nu\n6\n1\ns\n4\n3\n",
}
SAID = {"strength": [2, 0], "tie": [1, 0], "rating": [1, 4, 3]}


@pytest.fixture
def model(here, capsys):
    """A saved model that knows three kinds, and the cache of the pairs that it asks about."""
    run(capsys, *PREPARE, "--out", "cache")
    basis = {"V": jnp.asarray(np.random.default_rng(1).normal(size=(4, 2)), jnp.float32)}
    prior = GaussianPrior(jnp.zeros(2), 2.0 * jnp.eye(2))
    own = Model(LinearBasis(2), basis, jnp.ones(()), prior)
    lore.save_answers("model", own, AnswerModel(FREE, jnp.array(1.0)), None)
    return here


@pytest.mark.parametrize("name", ["strength", "tie", "rating"])
def test_what_is_said_is_written_by_its_level(model, monkeypatch, capsys, name):
    monkeypatch.setattr("sys.stdin", io.StringIO(WORDS[name]))
    options = [] if name == "strength" else ["--say", name]  # of which a run asks by itself
    command = ["ask", "model", "--cache", "cache", "--out", "me.jsonl", "--least-gain", "0"]
    assert main([*command, *options]) == 0
    printed = capsys.readouterr()
    assert f"{len(SAID[name])} answers of me" in printed.out
    rows = [json.loads(line) for line in (model / "me.jsonl").read_text().splitlines()]
    assert [row["rating" if name == "rating" else "strength"] for row in rows] == SAID[name]
    scale = ["--scale", "1", "5"] if name == "rating" else []
    run(capsys, "prepare", "me.jsonl", "--cache", "cache", "--out", "mine", *scale)
    assert lore.load_feedback("mine").blocks[0].kind.name == name


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_words_rows_and_levels_are_of_each_other(levels):
    kind = Kind("tie", 2, levels=3) if levels == 3 else Kind("strength", 2, levels=levels)
    asker = KindAsker(None, kind)  # pyright: ignore[reportArgumentType]
    words = ["b2", "b1", *["n"] * (levels % 2), "a1", "a2"] if levels > 3 else ["b", "n", "a"]
    assert [asker.read(word) for word in words] == list(range(levels))
    assert [asker.read(word) for word in ("a9", "c", "1", "ab")] == [None] * 4
    for level, word in enumerate(words):
        row, size = asker.row((7, 9), level), 0 if word == "n" else int(word[1:] or 1)
        first = (9, 7) if word[0] == "b" else (7, 9)
        assert row == {"chosen": first[0], "rejected": first[1], "strength": size}


def test_a_kind_that_the_model_does_not_know(model, capsys):
    command = ["ask", "model", "--cache", "cache", "--out", "me.jsonl"]
    basis = LinearBasis(2)
    prior = GaussianPrior(jnp.zeros(2), jnp.eye(2))
    own = Model(basis, {"V": jnp.ones((4, 2))}, jnp.ones(()), prior)
    lore.save("pairs", own)
    command[1] = "pairs"
    error = run(capsys, *command, "--say", "tie", status=2)
    assert "say is tie: pairs knows pairs only" in error
