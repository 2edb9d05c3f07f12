"""`lore-jax ask`: answers typed in come out as rows that `prepare` reads."""

import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from command_line import PREPARE, run

from lore_jax.cli.main import main
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import GaussianPrior
from lore_jax.model.saved import save
from lore_jax.storage.cache.reader import load_cache, read_texts

RANK = 2
WEIGHTS = np.random.default_rng(0).normal(size=(6, RANK)).astype(np.float32)
USERS = Posterior(
    WEIGHTS,
    np.zeros((6, RANK, RANK), np.float32),
    np.ones(6, np.int32),
    np.ones(6, bool),
    np.ones(6, np.int32),
    np.zeros(6, np.float32),
)


@pytest.fixture
def model(here, capsys):
    """A saved model, and the cache of the pairs that it asks about."""
    run(capsys, *PREPARE, "--out", "cache")
    basis = {"V": jnp.asarray(np.random.default_rng(1).normal(size=(4, RANK)), jnp.float32)}
    prior = GaussianPrior(jnp.zeros(RANK), 2.0 * jnp.eye(RANK))
    save("model", Model(LinearBasis(RANK), basis, jnp.ones(()), prior), USERS)
    return here


def ask(monkeypatch, capsys, words, *options):
    monkeypatch.setattr("sys.stdin", io.StringIO(words))
    status = main(["ask", "model", "--cache", "cache", "--out", "me.jsonl", *options])
    return status, capsys.readouterr()


def test_answers_are_rows_that_prepare_reads(model, monkeypatch, capsys):
    status, printed = ask(
        monkeypatch, capsys, "a\nu\nwhat\ns\nB\n", "--user", "böb", "--json", "--least-gain", "0"
    )
    assert status == 0, printed.err
    assert "A: " in printed.err
    assert "would now be picked for you: " in printed.err
    result = json.loads(printed.out)
    assert (result["answers"], result["skipped"], result["user"]) == (1, 1, "böb")
    assert result["learned"][0].keys() >= {"share", "position", "towards", "from"}
    row = json.loads((model / "me.jsonl").read_text())
    texts = {reply for _, reply in read_texts("cache")}
    assert {row["chosen"], row["rejected"]} <= texts
    run(capsys, "prepare", "me.jsonl", "--cache", "cache", "--out", "mine")
    assert load_cache("mine").user_ids.tolist() == ["böb"]
    assert load_cache("mine").num_pairs == 1


def test_it_stops_when_it_is_sure_and_when_nothing_is_left(model, monkeypatch, capsys):
    _, printed = ask(monkeypatch, capsys, "a\n" * 9, "--least-gain", "0.6")
    assert "sure enough" in printed.err
    assert "no answers: nothing is written" in printed.out
    assert not (model / "me.jsonl").exists()
    status, printed = ask(monkeypatch, capsys, "a\n" * 9, "--least-gain", "0")
    assert status == 0
    assert "there is no question left" in printed.err
    assert "of what people disagree about: you are" in printed.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--most", "0"], "most is 0: 1 or more"),
        (["--least-gain", "-1"], "least_gain is -1.0"),
        (["--criterion", "best"], "criterion is 'best': one of information"),
        (["--out", "me.txt"], "me.txt ends in '.txt': .jsonl is expected"),
        (["--out", "pairs.jsonl"], "pairs.jsonl"),
    ],
)
def test_bad_options_end_in_one_line(model, monkeypatch, capsys, options, message):
    status, printed = ask(monkeypatch, capsys, "a\n", *options)
    assert status == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_a_saved_model_needs_a_cache(model, capsys):
    error = run(capsys, "ask", "model", "--out", "me.jsonl", status=2)
    assert "model is a saved model: --cache must name the responses" in error
