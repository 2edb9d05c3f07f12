"""What all methods share: stages, predictions from margins, the predictor of a basis."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import problem

import lore_jax as lore
from lore_jax.methods.base import BasisPredictor, Stage, predicted
from lore_jax.methods.reference import ReferenceConfig
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior
from lore_jax.solvers.likelihood import LOGISTIC


def test_a_stage_changes_the_choice_so_far():
    candidates = ({}, {"ridge": 2.0}, {"rank": 3, "ridge": 1.0})
    stage = Stage("ridge", ReferenceConfig(), candidates)
    assert stage.choices({"rank": 1, "size": 0.5}) == [
        {"rank": 1, "size": 0.5},
        {"rank": 1, "size": 0.5, "ridge": 2.0},
        {"rank": 3, "size": 0.5, "ridge": 1.0},
    ]
    assert stage.choices({}) == list(candidates)


def test_predictions_are_the_likelihoods_and_a_tie_is_half_right():
    mean = jnp.array([[[-1.5, 0.0, 2.0]]])
    certain = predicted(LOGISTIC, mean)
    np.testing.assert_allclose(certain.loss, np.logaddexp(0.0, -np.asarray(mean)), rtol=1e-6)
    np.testing.assert_array_equal(certain.correct, [[[0.0, 0.5, 1.0]]])
    variance = jnp.array([[[0.5, 1.0, 4.0]]])
    uncertain = predicted(LOGISTIC, mean, variance)
    np.testing.assert_allclose(uncertain.loss, -LOGISTIC.predictive(mean, variance), rtol=1e-6)
    np.testing.assert_array_equal(uncertain.correct, certain.correct)


@pytest.fixture(scope="module")
def prefs():
    return problem()


@pytest.fixture(scope="module")
def model(prefs):
    directions = np.random.default_rng(0).normal(size=(prefs.dim, 2)).astype(np.float32)
    prior = GaussianPrior(jnp.array([1.0, 0.0]), jnp.array([[0.0], [1.0]]))
    return Model(LinearBasis(2), {"V": jnp.asarray(directions)}, jnp.ones(()), prior)


def halves(prefs):
    """Every other pair as shots, the others to predict."""
    even = np.arange(prefs.num_pairs) % 2 == 0
    return prefs.take_pairs(even), prefs.take_pairs(~even)


def test_users_are_adapted_to_by_their_shots_alone(prefs, model):
    shots, test = halves(prefs)
    known = BasisPredictor(model, lore.adapt(model, prefs))
    expected = lore.margins(model, lore.adapt(model, shots), test)
    for predictor in (known, BasisPredictor(model)):
        np.testing.assert_array_equal(predictor.adapted(shots, test).mean, expected.mean)
        np.testing.assert_array_equal(predictor.adapted(shots, test).variance, expected.variance)


def test_users_of_the_fit_keep_their_posterior(prefs, model):
    shots, test = halves(prefs)
    users = lore.adapt(model, prefs)
    fitted = BasisPredictor(model, users).fitted(shots, test)
    np.testing.assert_array_equal(fitted.mean, lore.margins(model, users, test).mean)
    without = BasisPredictor(model)  # nobody's posterior is kept: known by their pairs
    expected = without.adapted(shots, test)
    assert not np.allclose(fitted.mean, expected.mean)
    np.testing.assert_array_equal(without.fitted(shots, test).mean, expected.mean)


def test_it_is_saved_for_load_and_replaces_what_was_there(prefs, model, tmp_path):
    users = lore.adapt(model, prefs)
    encoder = {"model": "synthetic"}
    BasisPredictor(model).save(tmp_path / "model")
    twice = dataclasses.replace(model, params={"V": 2.0 * model.params["V"]})
    BasisPredictor(twice, users).save(tmp_path / "model", encoder=encoder)
    loaded, posterior = lore.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.params["V"], twice.params["V"])
    np.testing.assert_array_equal(posterior.weights, users.weights)
