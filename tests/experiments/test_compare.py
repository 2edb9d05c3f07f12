"""The comparison with --smoke, and Polis conversations made on the spot."""

import numpy as np
import pytest

from experiments import compare, polis
from lore_jax.datasets.polis.votes import load_polis_embeddings, read_polis
from lore_jax.evaluation.results import read_results

METHODS = ("bradley-terry", "reference-head")


def test_smoke(tmp_path, capsys):
    config = compare.Config(out=tmp_path, methods=METHODS, smoke=True)
    results = compare.run(config)
    text = capsys.readouterr().out
    assert set(results) == {"synthetic"}
    assert read_results(tmp_path / "synthetic" / "results.json") == results["synthetic"]
    assert "FITS OF A FEW STEPS" in (tmp_path / "synthetic" / "tables.md").read_text()
    assert "## Unseen users, known prompts, 5 shots" in text
    fits = {fit["method"]: fit["note"] for fit in results["synthetic"]["fits"]}
    assert fits == dict.fromkeys(METHODS[::-1], None)


def test_splits_are_those_of_the_polis_experiment(tmp_path, monkeypatch):
    root = polis.make_conversations(tmp_path, seed=0)
    votes, embeddings = read_polis(root / "one"), load_polis_embeddings(root)
    limits = {"min_train_pairs": 5, "min_test_pairs": 1}
    drawn = compare.polis_preferences
    monkeypatch.setattr(
        compare, "polis_preferences", lambda *args, **kw: drawn(*args, **kw, **limits)
    )
    split = compare.polis_split(votes, embeddings, "new items", seed=0)
    unseen, seen = split.conditions
    assert (unseen.users, seen.users) == ("unseen", "seen")
    assert not set(split.names["seen"]) & set(split.names["unseen"])
    trained = set(split.train.chosen) | set(split.train.rejected)
    for condition in split.conditions:
        assert not trained & (set(condition.test.chosen) | set(condition.test.rejected))
    np.testing.assert_array_equal(unseen.shots.user_ids, split.names["unseen"])
    assert seen.shots is split.train


def test_nothing_to_compare_on_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--data or --populations is expected"):
        compare.run(compare.Config(out=tmp_path / "run", populations=()))
    with pytest.raises(ValueError, match="there is no method 'bt'"):
        compare.run(compare.Config(out=tmp_path / "run", methods=("bt",)))
    assert not (tmp_path / "run").exists()
