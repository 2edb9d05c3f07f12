"""The experiment on feedback in --smoke mode."""

import numpy as np

from experiments import feedback
from experiments.common import smoke_data
from lore_jax.datasets.prism import read_prism
from lore_jax.storage.cache.writer import CacheWriter


def test_feedback(tmp_path):
    result = feedback.run(feedback.Config(out=tmp_path / "run", smoke=True))
    assert set(result) == {"worth", "ties", "fitted", "cost", "asked", "lapses"}
    for how in ("davidson", "rao-kupper"):
        ties = result["ties"][f"basis known, {how}"]
        assert 0.2 < ties["share of ties"] < 0.4
        assert ties["information used over dropped"] > 1.0
        assert ties["10 answers, exact Bayes"]["used"] > 0.6
    for row in result["fitted"].values():
        assert 0.5 < row["right"] <= 1.0
        assert all(kind["log_loss"] > 0 for kind in row["kinds"])
    again = feedback.run(feedback.Config(out=tmp_path / "run", smoke=True))
    assert again == result


def test_a_cache_of_scores_as_they_were_said_and_as_pairs(tmp_path):
    smoke_data.write_prism(tmp_path / "prism")
    pairs = read_prism(tmp_path / "prism").pairs
    table = np.random.default_rng(0).standard_normal((len(pairs.responses), 6))
    with CacheWriter(tmp_path / "cache", dim=6, dtype="float32", encoder={}) as writer:
        writer.append(table.astype(np.float32))
        writer.finish(**pairs.cache_columns())
    config = feedback.Config(out=tmp_path / "run", cache=tmp_path / "cache", smoke=True)
    result = feedback.cached(config, 0)
    assert "504 ratings 1-5" in result["answers"]
    for row in (result["ridge 3"]["as said"], result["ridge 3"]["pairs"]):
        assert 0.0 <= row["accuracy"] <= 1.0
        assert row["log_loss"] > 0.0
