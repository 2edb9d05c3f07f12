"""`lore-jax pick` against the functions it calls; two users who disagree, and one who is new."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet
import pytest
from command_line import run

import lore_jax as lore
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import GaussianPrior
from lore_jax.steering.groups import GROUP_RULES

NAMES = ["ann", "bob", "new"]
TABLE = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = {"V": jnp.asarray(np.random.default_rng(1).normal(size=(4, 2)), jnp.float32)}
    prior = GaussianPrior(jnp.array([0.5, 0.0]), jnp.eye(2))
    model = Model(LinearBasis(2), params, jnp.ones(()), prior)
    weights = np.array([[2.0, 1.0], [-2.0, 1.0], [0.5, 0.0]], np.float32)
    covariance = np.stack([0.01 * np.eye(2), 0.01 * np.eye(2), np.eye(2)]).astype(np.float32)
    nothing = [np.zeros(3, np.int32) for _ in range(4)]
    users = Posterior(weights, covariance, *nothing, user_ids=np.array(NAMES))
    lore.save("users", model, users)
    np.save("table.npy", TABLE)
    return tmp_path, model, users


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_user_gets_a_reply(here, capsys):
    folder, model, users = here
    said = run(capsys, "pick", "users", "table.npy", "--out", "picks.jsonl", "--seed", "3")
    key = jax.random.fold_in(jax.random.key(3), 0)
    expected = lore.best_of_n(model, users, TABLE, key=key)
    found = rows(folder / "picks.jsonl")
    assert [row["user_id"] for row in found] == NAMES
    assert [row["response"] for row in found] == expected.row.tolist()
    assert [row["is_population"] for row in found] == expected.is_population.tolist()
    regret = [row["expected_regret"] for row in found]
    np.testing.assert_allclose(regret, expected.expected_regret, rtol=1e-5)
    best = expected.probability_best[np.arange(3), expected.pick]
    np.testing.assert_allclose([row["probability_best"] for row in found], best, rtol=1e-5)
    assert found[2]["is_population"]
    assert f"{100 * (~expected.is_population).mean():.0f} % of the picks are another" in said
    run(capsys, "pick", "users", "table.npy", "--out", "sure.parquet", "--confidence", "0.999999")
    sure = pyarrow.parquet.read_table("sure.parquet").to_pylist()
    assert all(row["is_population"] for row in sure if row["probability_better"] < 0.99)


def test_one_reply_for_all(here, capsys):
    folder, model, users = here
    said = run(capsys, "pick", "users", "table.npy", "--together", "--out", "one.jsonl", "--json")
    key = jax.random.fold_in(jax.random.key(0), 0)
    expected = lore.pick_for_group(model, users, TABLE, draws=256, key=key)
    found = rows(folder / "one.jsonl")
    assert [row["rule"] for row in found] == list(GROUP_RULES)
    assert [row["response"] for row in found] == expected.row.tolist()
    assert [row["decided"] for row in found] == expected.decided().tolist()
    assert json.loads(said)["share"] == pytest.approx(expected.decided().mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--together", "--rule", "Thompson"], "is given with --together"),
        (["--caution", "-1"], "caution is -1.0: a number of 0 or more"),
        (["--draws", "0"], "draws is 0: 1 to 1,000,000"),
        (["--rule", "best"], "rule"),
        (["--out", "picks.csv"], "picks.csv ends in '.csv': .parquet or .jsonl is expected"),
    ],
)
def test_bad_options_are_one_line_and_nothing_is_written(here, capsys, options, message):
    folder, *_ = here
    out = [] if "--out" in options else ["--out", "picks.jsonl"]
    before = sorted(folder.rglob("*"))
    error = run(capsys, "pick", "users", "table.npy", *out, *options, status=2)
    assert message in error
    assert error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
