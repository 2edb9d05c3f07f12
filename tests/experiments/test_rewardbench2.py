"""RewardBench 2 scores the reference head, the columns and the population."""

import json

import numpy as np

import lore_jax as lore
from experiments import rewardbench2
from lore_jax.model.basis import LinearBasis
from lore_jax.model.prior import GaussianPrior
from lore_jax.storage.cache.reader import load_cache


def test_rewardbench2_scores_head_columns_and_population(cache, tmp_path):
    prefs = load_cache(cache)
    rng = np.random.default_rng(0)
    columns = np.stack([prefs.head, rng.normal(size=prefs.dim)], axis=1).astype(np.float32)
    population = GaussianPrior(np.array([1.0, 0.0], np.float32), np.zeros((2, 0), np.float32))
    two = lore.Model(LinearBasis(2), {"V": columns}, np.float32(1.0), population)
    lore.save(tmp_path / "fitted", two)
    out = tmp_path / "bench"
    won = rewardbench2.run(rewardbench2.Config(out=out, fitted=tmp_path / "fitted", smoke=True))
    assert list(won) == ["reference head", "population", "column 0", "column 1"]
    assert won["reference head"] == won["population"] == won["column 0"] != won["column 1"]
    assert set(won["column 1"]) == {"Factuality", "Math", "Ties", "average"}
    assert json.loads((out / "rewardbench2.json").read_text())["won"]["population"]["Math"] >= 0
