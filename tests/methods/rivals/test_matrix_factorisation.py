"""Effects against scikit-learn's one-hot regression; items nobody judged; who it is for."""

import dataclasses

import numpy as np
import pytest
import rival_populations
from joint_fit import problem
from sklearn.linear_model import LogisticRegression

import lore_jax as lore
from lore_jax.methods.rivals import matrix_factorisation
from lore_jax.methods.rivals.matrix_factorisation import MatrixFactorisationConfig


def fit(prefs, **settings):
    method = MatrixFactorisationConfig(ridge_effects=0.5, ridge_factors=0.5, **settings)
    return lore.fit(prefs, lore.FitConfig(method), key=0)


def test_without_factors_it_is_ridge_regression_on_one_hot_items():
    prefs = problem()
    model, users, history = fit(prefs, rank=0)
    assert history.sweeps == ()
    assert len(history.loss) == 0
    one_hot = np.eye(prefs.num_responses)
    design = one_hot[prefs.chosen] - one_hot[prefs.rejected]
    oracle = LogisticRegression(
        C=1.0, fit_intercept=False, tol=1e-10, solver="newton-cholesky", max_iter=200
    ).fit(
        np.vstack([design, -design]),
        np.repeat([1, 0], prefs.num_pairs),
        np.tile(prefs.pair_weight / 2.0, 2),
    )
    expected = design @ oracle.coef_[0]
    np.testing.assert_allclose(lore.margins(model, users, prefs).mean, expected, atol=5e-3)


def test_the_text_is_not_read_and_items_of_no_pair_are_a_coin():
    prefs = problem()
    model, users, history = fit(prefs, rank=2, steps=5)
    assert len(history.loss) == 5
    assert not np.asarray(model.params["V"]).any()
    other = np.random.default_rng(1).normal(size=prefs.embeddings.shape).astype(np.float32)
    unknown = dataclasses.replace(prefs, embeddings=other)
    np.testing.assert_array_equal(lore.margins(model, users, unknown).mean, 0.0)


def test_it_predicts_known_items_by_what_others_preferred():
    pairs = rival_populations.taste_along_axes(responses=40, users=90, known=True)
    hidden = rival_populations.Population(
        *(dataclasses.replace(part, embeddings=noise(part.embeddings.shape)) for part in pairs)
    )
    method = MatrixFactorisationConfig(rank=2, ridge_effects=0.3, ridge_factors=0.3)
    assert rival_populations.gain(method, hidden, holdout="known items") > 3.0


def noise(shape):
    """Texts that say nothing."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_what_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="rank is -1: 0 or more"):
        MatrixFactorisationConfig(rank=-1)
    with pytest.raises(ValueError, match="ridge_factors is 0: a positive number"):
        MatrixFactorisationConfig(ridge_factors=0)
    with pytest.raises(ValueError, match="rank is 9: 0 to 6"):
        MatrixFactorisationConfig(rank=9).stages(problem())
    monkeypatch.setattr(matrix_factorisation, "MOST_RESPONSES", 10)
    with pytest.raises(ValueError, match=r"the table has 40 responses: .*at most 10"):
        MatrixFactorisationConfig().stages(problem())
