"""`lore-jax merge` on adapters and users of a saved model, or of rows."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
from command_line import run
from lora_adapters import deltas, matrices, write_adapter

import lore_jax as lore
from lore_jax.model.basis import LinearBasis
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import GaussianPrior
from lore_jax.steering.adapters import read_adapter

WEIGHTS = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]], np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("expert", "brief")):
        write_adapter(tmp_path / name, matrices(seed))
    names = np.array(["ann", "bob", "eve"])
    nothing = [np.zeros(3, np.int32) for _ in range(4)]
    users = Posterior(WEIGHTS, np.zeros((3, 2, 2), np.float32), *nothing, user_ids=names)
    prior = GaussianPrior(jnp.ones(2), jnp.zeros((2, 0)))
    model = lore.Model(LinearBasis(2), {"V": jnp.ones((3, 2))}, jnp.ones(()), prior)
    lore.save("users", model, users)
    rows = [
        {"user_id": "ann", "weights": [0.25, 0.75]},
        {"user_id": "bob", "weights": {"brief": 0.5, "expert": 0.5}},
        {"user_id": "eve", "weights": {"expert": 1.0}},
    ]
    (tmp_path / "users.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize("users", ["users", "users.jsonl"])
def test_everybodys_adapter_is_written(folder, capsys, users):
    text = run(capsys, "merge", "expert", "brief", "--users", users, "--out", "out")
    assert "out: 3 adapters" in text
    parts = [deltas(matrices(seed), 2.0) for seed in (0, 1)]
    for name, weights in zip(("ann", "bob", "eve"), WEIGHTS, strict=True):
        merged = read_adapter(folder / "out" / name)
        for module, a, b in zip(merged.modules, merged.a, merged.b, strict=True):
            expected = sum(w * part[module] for w, part in zip(weights, parts, strict=True))
            np.testing.assert_allclose(b @ a, expected, atol=1e-5)


def test_the_options_choose_columns_and_method(folder, capsys):
    words = ["merge", "brief", "--users", "users", "--columns", "1", "--weighting", "signed"]
    out = run(
        capsys, *words, "--method", "linear", "--top-k", "1", "--out", "out", "--json", status=2
    )
    assert "user 'eve' has weights 0: at least one that is not 0 is expected" in out
    words[4:6] = ["--columns", "0"]
    result = json.loads(run(capsys, *words, "--method", "linear", "--out", "out", "--json"))
    assert result["method"] == "linear"
    assert result["users"] == 3


def rows(folder, *objects):
    (folder / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects))
    return "bad.jsonl"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["expert", "--users", "users"], "1 adapters are given for 2 columns of weights of users"),
        (["expert", "--users", "users", "--columns", "2"], "columns holds 2: 0 to 1"),
        (["expert", "--users", "users.jsonl", "--columns", "0"], "columns is .*only a model's"),
        (["expert", "nothing", "--users", "users"], "nothing/adapter_config.json is missing"),
        (["expert", "brief", "--users", "nobody"], "nobody does not exist"),
        (["expert", "brief", "--users", "expert"], "neither a run nor a saved model"),
        (["expert", "brief", "--users", "users", "--rank", "9"], "only svd takes one"),
        (["expert", "brief", "--users", {"user_id": "ann"}], "line 1: 'weights' missing"),
        (
            ["expert", "brief", "--users", {"user_id": "ann", "weights": None}],
            "line 1: user 'ann' has weights None: a user_id and 2 numbers",
        ),
        (
            ["expert", "brief", "--users", {"user_id": "ann", "weights": {"funny": 1.0}}],
            "line 1: 'funny' is no adapter: 'expert', 'brief' are given",
        ),
        (
            ["expert", "brief", "--users", {"user_id": "ann", "weights": [0.5, 0.6]}],
            "user 'ann' has weights 0.5, 0.6",
        ),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(folder, capsys, words, message):
    words = [rows(folder, word) if isinstance(word, dict) else word for word in words]
    before = sorted(folder.rglob("*"))
    error = run(capsys, "merge", *words, "--out", "out", status=2)
    assert re.fullmatch(r"lore-jax: [^\n]+\n", error)
    assert re.search(message, error)
    assert sorted(folder.rglob("*")) == before
