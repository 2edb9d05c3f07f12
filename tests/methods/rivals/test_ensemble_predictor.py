"""Means and bounds by NumPy."""

import numpy as np
from joint_fit import differences, problem

from lore_jax.methods.rivals.ensemble_predictor import EnsemblePredictor


def test_mean_and_lower_bound():
    prefs, rng = problem(), np.random.default_rng(0)
    heads = rng.normal(size=(prefs.dim, 4)).astype(np.float32)
    table = np.asarray(prefs.embeddings)
    origin = table.mean(axis=0) @ heads
    mean = EnsemblePredictor(heads, origin, 0.0).adapted(prefs, prefs)
    each = differences(prefs) @ heads
    np.testing.assert_allclose(mean.mean, each.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(mean.variance, each.var(axis=1, ddof=1), rtol=1e-4)
    bound = EnsemblePredictor(heads, origin, 2.0).fitted(prefs, prefs)
    spread = ((table - table.mean(axis=0)) @ heads).std(axis=1, ddof=1)
    expected = each.mean(axis=1) - 2.0 * (spread[prefs.chosen] - spread[prefs.rejected])
    np.testing.assert_allclose(bound.mean, expected, atol=1e-4)
    np.testing.assert_array_equal(bound.variance, mean.variance)
