"""The model of given directions gives the margins of the mode by hand."""

import jax.numpy as jnp
import numpy as np
from joint_fit import differences, problem

from lore_jax.methods.rivals.linear_predictor import linear_predictor
from lore_jax.model.prior import GaussianPrior


def test_without_shots_everybody_has_the_mean():
    prefs, rng = problem(), np.random.default_rng(0)
    directions, mean = rng.normal(size=(prefs.dim, 2)).astype(np.float32), np.float32([0.5, -1.0])
    predictor = linear_predictor(directions, GaussianPrior(jnp.asarray(mean), jnp.eye(2)), prefs)
    nobody = prefs.take_pairs(np.zeros(prefs.num_pairs, bool))
    expected = differences(prefs) @ directions @ mean
    np.testing.assert_allclose(predictor.adapted(nobody, prefs).mean, expected, atol=1e-4)
    weights = np.asarray(predictor.users.weights)
    np.testing.assert_allclose(weights[3], mean, atol=1e-6)  # who has no pairs
    assert np.abs(weights - mean).max() > 0.1
