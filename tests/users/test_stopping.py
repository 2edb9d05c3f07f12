"""Stopping: the probability of the best reply against a closed form, and the two bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import population_posterior
from lore_jax.model.prior import GaussianPrior
from lore_jax.users import stopping
from lore_jax.users.questions import Questions
from lore_jax.users.stopping import is_done, probability_of_best

TABLE = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]], np.float32)
PRIOR = GaussianPrior(jnp.array([0.4, 0.0]), jnp.diag(jnp.array([1.0, 0.0])))
MODEL = Model(LinearBasis(2), {"V": jnp.eye(2)}, jnp.ones(()), PRIOR)
NOBODY = population_posterior(MODEL, 5)
KEY = jax.random.key(0)


def test_of_two_replies_against_the_normal_distribution(monkeypatch):
    monkeypatch.setattr(stopping, "_DRAWS_AT_A_TIME", 16_000)  # two users at a time
    best = probability_of_best(MODEL, NOBODY, TABLE, np.array([0, 1]), draws=4000, key=KEY)
    assert best.shape == (5, 2)
    np.testing.assert_allclose(best[:, 0], norm.cdf(0.4), atol=0.03)
    np.testing.assert_allclose(best.sum(axis=1), 1.0, rtol=1e-5)


def test_who_is_done():
    gain = np.array([[0.5], [0.1], [0.5], [0.0]])
    index = np.array([[1], [0], [2], [-1]])
    questions = Questions(index, index, index, np.full((4, 1), 0.5), gain)
    assert is_done(questions, 0.2).tolist() == [False, True, False, True]
    best = np.array([[0.5, 0.5], [0.6, 0.4], [0.05, 0.95], [0.5, 0.5]])
    assert is_done(questions, 0.2, best, 0.9).tolist() == [False, True, True, True]


def test_bad_bounds_are_refused():
    questions = Questions(*[np.zeros((1, 1), int)] * 3, *[np.zeros((1, 1))] * 2)
    for bound in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="0 or more is expected"):
            is_done(questions, bound)
    with pytest.raises(ValueError, match=r"settled is 0\.0: a probability"):
        is_done(questions, 0.1, np.ones((1, 1)), 0.0)
    with pytest.raises(ValueError, match="draws is 0"):
        probability_of_best(MODEL, NOBODY, TABLE, np.array([0]), draws=0, key=KEY)
    with pytest.raises(ValueError, match="replies holds 3, outside a table of 3 responses"):
        probability_of_best(MODEL, NOBODY, TABLE, np.array([3]), key=KEY)
    with pytest.raises(ValueError, match=r"replies has dtype \w+ and shape \(0,\)"):
        probability_of_best(MODEL, NOBODY, TABLE, np.array([], int), key=KEY)
