"""The population model as a method: what is chosen when, what is refused, what is exported."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import GIVEN, problem

import lore_jax as lore
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import start
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.model.model import response_keys, rms_row_norm
from lore_jax.model.prior import GaussianPrior, MixturePrior
from lore_jax.parallel.devices import over_shards

KEY = jax.random.key(0)


def test_choices_are_traced_numbers_and_masks_of_columns():
    prefs = problem()
    base = {
        "ridge_population": 3.0,
        "ridge_deviation": 2.0,
        "item_effects": 0.5,
        "item_effects_deviation": 0.25,
    }
    choices = [{**base, "rank": rank} for rank in (1, 2, 4)]
    hypers = PopulationConfig().hypers(choices, prefs)
    assert [hyper.columns.tolist() for hyper in hypers] == [[0, 0, 0], [1, 0, 0], [1, 1, 1]]
    for hyper in hypers:
        ridges = hyper.ridge_population, hyper.ridge_deviation
        assert tuple(map(float, ridges)) == (3.0, 2.0)
        assert hyper.item_effects.tolist() == [0.5, 0.25]
    assert PopulationConfig().input_scale(prefs) == rms_row_norm(prefs.embeddings)
    # A convex problem is solved where it begins.
    assert PopulationConfig(steps=7).num_steps(choices[:1]) == 0
    assert PopulationConfig(steps=7).num_steps(choices) == 7
    assert PopulationConfig(steps=7, hidden=(4,)).num_steps(choices[:1]) == 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps is 0: a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan: a positive number"),
        ({"ridge_population": 0.0}, "ridge_population is 0.0: a positive number"),
        ({"ridge_deviation": -1.0}, "ridge_deviation is -1.0: a positive number"),
        ({"logit_scale": 0.0}, "logit_scale is 0.0: a positive number"),
        ({"rank": 0}, "rank is 0: 1 or more"),
        ({"item_effects": -0.5}, "item_effects is -0.5: 0 or more"),
        ({"item_effects_deviation": -0.5}, "item_effects_deviation is -0.5: 0 or more"),
        ({"num_components": 3}, "num_components is 3: 0, 2, 4, 8 is expected"),
        ({"num_components": 2, "rank": 1}, "num_components is 2, but with rank 1 nobody deviates"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        PopulationConfig(**fields)


def test_rank_1_is_bradley_terry_times_the_logit_scale():
    prefs = problem()
    alone = dataclasses.replace(GIVEN, rank=1, item_effects=0.0, item_effects_deviation=0.0)
    model, users, history = lore.fit(prefs, FitConfig(alone), key=KEY)
    expected, _, _ = lore.fit(prefs, FitConfig(BradleyTerryConfig(1.0)), key=KEY)
    assert history.loss.shape == (0,)
    direction = model.params["V"] / model.input_scale
    np.testing.assert_allclose(direction, 1.2 * expected.params["V"], rtol=1e-4, atol=1e-6)
    assert not np.any(model.prior.covariance)
    assert model.item_effects is None
    np.testing.assert_array_equal(users.weights, np.ones((prefs.num_users, 1)))


def fitted(prefs, method):
    """What the fit learned, the shard axis in front; what is exported; the fit."""
    running, state = start(prefs, FitConfig(method), key=KEY)
    state, _ = running.advance(state, 0, running.steps)
    learned = over_shards(method.finish, donate=False)(state, running.first_data, running.hyper)
    return learned, running.method.export(learned, running.layout, prefs), running


def test_responses_that_somebody_judged_keep_their_item_effects():
    prefs = problem(responses=80)
    learned, predictor, running = fitted(prefs, GIVEN)
    model, hyper, scale = predictor.model, running.hyper, GIVEN.logit_scale
    counted = prefs.pair_weight > 0
    judged = np.unique([prefs.chosen[counted], prefs.rejected[counted]])
    assert len(judged) < prefs.num_responses
    keys = response_keys(prefs.embeddings)[judged]
    np.testing.assert_array_equal(model.item_effects.keys, keys)
    values = scale * 0.5 * np.asarray(learned.params["item_effects"])[0][judged]
    np.testing.assert_allclose(model.item_effects.values, values, rtol=1e-6)
    # A ridge r on an effect is the prior N(0, 1 / 2r).
    variance = scale**2 * 0.5**2 / (2.0 * np.array([1.0, 2.0, 2.0]))
    np.testing.assert_allclose(model.item_effects.variance, variance, rtol=1e-6)
    assert hyper.item_effects.tolist() == [0.5, 0.5]
    np.testing.assert_array_equal(model.item_effects.share, learned.share[0].T[judged])
    # What the text says is scaled alike; column 0 has weight 1 for everybody, the others N(0, I).
    directions = np.asarray(learned.params["basis"]["V"])[0]
    np.testing.assert_allclose(model.params["V"], scale * directions, rtol=1e-6)
    assert type(model.prior) is GaussianPrior
    np.testing.assert_array_equal(model.prior.mean, [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(model.prior.covariance, np.diag([0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(predictor.users.weights[:, 0], 1.0)
    adapted = lore.adapt(model, prefs)
    np.testing.assert_array_equal(predictor.users.weights, adapted.weights)


def test_judged_responses_are_known_whatever_the_basis():
    prefs = problem(responses=80)
    for hidden in ((), (4,)):
        learned, predictor, _ = fitted(prefs, dataclasses.replace(GIVEN, hidden=hidden))
        counted = prefs.pair_weight > 0
        judged = np.unique([prefs.chosen[counted], prefs.rejected[counted]])
        share = np.asarray(learned.share[0])
        assert (share[:, judged] < 1).all()
        np.testing.assert_array_equal(np.delete(share, judged, axis=1), 1.0)
        assert (predictor.model.basis_posterior is None) == bool(hidden)


def test_the_prior_of_a_mixture_has_its_moments_and_all_users_together_mean_0_covariance_1():
    method = dataclasses.replace(GIVEN, num_components=2)
    learned, predictor, _ = fitted(problem(users=30), method)
    prior = predictor.model.prior
    assert type(prior) is MixturePrior
    assert int(prior.mixture.in_use) == 2
    mean, covariance = prior.mixture.moments()
    np.testing.assert_allclose(mean, np.zeros(2), atol=1e-5)
    np.testing.assert_allclose(covariance, np.eye(2), atol=1e-5)
    # In the weights' own coordinates it is the mixture that was learned.
    mixture = jax.tree.map(lambda leaf: jnp.asarray(leaf)[0, -1], learned.mixtures)
    mean, covariance = mixture.moments()
    np.testing.assert_allclose(prior.mean, np.concatenate([[1.0], mean]), atol=1e-5)
    np.testing.assert_allclose(prior.covariance[1:, 1:], covariance, atol=1e-5)
    assert not np.any(prior.covariance[0])
    centres = np.asarray(prior.mean) + np.asarray(prior.mixture.centre @ prior.factor.T)
    np.testing.assert_allclose(centres[:, 1:], mixture.centre, atol=1e-5)
    assert np.asarray(predictor.users.converged).all()
