"""The short examples run as they stand."""

import runpy
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from lora_adapters import matrices, write_adapter

import lore_jax as lore
from experiments.common.tiny_model import write_sentence_encoder
from lore_jax.embed import load_encoder
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def code_lines(name):
    """Lines of code after the docstring and the imports."""
    text = (EXAMPLES / name).read_text().split('"""', 2)[2]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [line for line in lines if not line.startswith(("import", "from"))]


def test_they_are_ten_lines():
    for name in ("best_of_n.py", "grpo_reward.py", "soups.py"):
        assert len(code_lines(name)) <= 10, name


def test_best_of_n(monkeypatch, capsys):
    run(monkeypatch, "best_of_n.py")
    assert "regret expected" in capsys.readouterr().out


def test_grpo_reward(monkeypatch, capsys, tmp_path):
    folder = write_sentence_encoder(tmp_path / "encoder")
    dim = load_encoder(folder).model.dim
    prior = GaussianPrior(jnp.ones(1), jnp.ones((1, 1)))
    model = Model(LinearBasis(1), {"V": jnp.ones((dim, 1))}, jnp.ones(()), prior)
    lore.save(tmp_path / "model", model, lore.population_posterior(model, 2))
    run(monkeypatch, "grpo_reward.py", tmp_path / "model", folder)
    first, second = eval(capsys.readouterr().out)
    assert np.isfinite(first)
    assert second == -1.0


def test_soups(monkeypatch, capsys, tmp_path):
    folders = [write_adapter(tmp_path / str(seed), matrices(seed)) for seed in (0, 1, 2)]
    run(monkeypatch, "soups.py", tmp_path / "out", *folders)
    assert "users=3" in capsys.readouterr().out
    assert (tmp_path / "out" / "ann" / "adapter_model.safetensors").is_file()
