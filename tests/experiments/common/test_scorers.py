"""Projected models and published weights predict what they should."""

import numpy as np

import lore_jax as lore
from experiments.common.scorers import as_published, projected
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.evaluation.evaluate import method


def test_a_projected_method_predicts_what_the_model_predicts():
    truth = synthetic(
        SyntheticConfig(num_users=12, num_prompts=20, dim=16, rank=3, users="simplex"), seed=0
    )
    shots, test = lore.draw_shots(truth.prefs, 5, seed=0), lore.draw_shots(truth.prefs, 30, seed=1)
    users = lore.adapt(truth.model, truth.prefs)
    whole, small = method(truth.model, users), projected(truth.model, users, truth.prefs.embeddings)
    for scorer in ("adapted", "fitted"):
        expected, result = (getattr(scored, scorer)(shots, test).mean for scored in (whole, small))
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3)
    by_adam = as_published(truth.model, users, truth.prefs.embeddings, 0)
    agree = np.sign(by_adam.adapted(shots, test).mean) == np.sign(small.adapted(shots, test).mean)
    assert agree.mean() > 0.9  # 500 steps come near the optimum
    without_shots = by_adam.adapted(lore.draw_shots(truth.prefs, 0, seed=0), test).mean
    assert np.isfinite(without_shots).all()
    assert not np.allclose(
        without_shots, small.adapted(lore.draw_shots(truth.prefs, 0, seed=0), test).mean
    )
