"""The population model as a method: what is chosen when, what is refused, what is exported."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import problem

import lore_jax as lore
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import start
from lore_jax.methods.bradley_terry import RIDGES, BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.model.model import response_keys, rms_row_norm
from lore_jax.model.prior import GaussianPrior, MixturePrior
from lore_jax.parallel.devices import over_shards

GIVEN = PopulationConfig(
    rank=3,
    ridge_population=1.0,
    ridge_deviation=2.0,
    item_effects=0.5,
    num_components=0,
    logit_scale=1.2,
    steps=20,
    learning_rate=0.1,
)
KEY = jax.random.key(0)


def test_everything_open_is_chosen_in_two_stages():
    population, deviations = PopulationConfig().stages(problem(dim=12))
    assert population.name == "population"
    assert [tuple(choice.values()) for choice in population.choices({})] == [
        (1, ridge, 30.0, size) for ridge in RIDGES for size in (0.0, 1.0, 2.0)
    ]
    # Nobody deviates yet: one variant, so that a stage with one candidate costs nothing.
    assert population.method.variants() == [{"num_components": 0, "logit_scale": 1.0}]
    winner = {"rank": 1, "ridge_population": 3.0, "ridge_deviation": 30.0, "item_effects": 1.0}
    assert deviations.name == "deviations"
    assert deviations.choices(winner) == [
        winner,  # that nobody deviates stays a candidate, the first
        *({**winner, "rank": 9, "ridge_deviation": ridge} for ridge in (30.0, 10.0, 3.0, 1.0)),
    ]
    assert deviations.method.variants() == PopulationConfig().variants()


def test_stages_fit_in_fewer_steps_and_else_as_asked():
    config = PopulationConfig(steps=500, learning_rate=0.01, hidden=(4,), ridge_population=2.0)
    population, deviations = config.stages(problem())
    quick = dataclasses.replace(config, steps=60, learning_rate=0.1)
    assert deviations.method == quick
    alone = {"rank": 1, "num_components": 0, "logit_scale": 1.0}
    assert population.method == dataclasses.replace(quick, **alone)


def test_what_is_given_is_not_asked():
    prefs = problem()
    population, deviations = GIVEN.stages(prefs)
    (first,) = population.choices({})
    (last,) = deviations.choices({**first, **population.method.variants()[0]})
    (variant,) = GIVEN.variants()
    choice = {**last, **variant}
    assert choice == {name: getattr(GIVEN, name) for name in choice}
    assert set(choice) == {
        *("rank", "ridge_population", "ridge_deviation", "item_effects"),
        *("num_components", "logit_scale"),
    }
    _, deviations = PopulationConfig(rank=4, ridge_deviation=5.0).stages(prefs)
    assert deviations.candidates == ({"rank": 4, "ridge_deviation": 5.0},)  # not that nobody does


def test_ranks_are_those_that_the_embeddings_have():
    (alone,) = PopulationConfig().stages(problem(dim=6))
    assert {choice["rank"] for choice in alone.candidates} == {1}
    assert len(alone.method.variants()) == 5  # the only stage chooses the logit scale as well
    _, deviations = PopulationConfig(hidden=(4,)).stages(problem(dim=6))
    assert {choice.get("rank", 1) for choice in deviations.candidates} == {1, 9}
    with pytest.raises(ValueError, match="rank is 7: 1 to 6, the dim of the embeddings"):
        PopulationConfig(rank=7).stages(problem(dim=6))


def test_a_mixture_that_is_asked_for_needs_users_who_deviate():
    _, deviations = PopulationConfig(num_components=2).stages(problem(dim=12))
    assert {choice["rank"] for choice in deviations.choices({"rank": 1})} == {9}


def test_variants_are_scales_without_a_mixture_and_numbers_of_components():
    scales, counts = (1.0, 1.15, 1.3, 1.5, 1.75), (2, 4, 8)
    assert PopulationConfig().variants() == [
        *({"num_components": 0, "logit_scale": scale} for scale in scales),
        *({"num_components": count, "logit_scale": 1.0} for count in counts),
    ]
    assert PopulationConfig(num_components=4, logit_scale=1.3).variants() == [
        {"num_components": 4, "logit_scale": 1.3}
    ]
    assert PopulationConfig(logit_scale=1.3).variants() == [
        {"num_components": count, "logit_scale": 1.3} for count in (0, *counts)
    ]


def test_choices_are_traced_numbers_and_masks_of_columns():
    prefs = problem()
    base = {"ridge_population": 3.0, "ridge_deviation": 2.0, "item_effects": 0.5}
    choices = [{**base, "rank": rank} for rank in (1, 2, 4)]
    hypers = PopulationConfig().hypers(choices, prefs)
    assert [hyper.columns.tolist() for hyper in hypers] == [[0, 0, 0], [1, 0, 0], [1, 1, 1]]
    for hyper in hypers:
        numbers = hyper.ridge_population, hyper.ridge_deviation, hyper.item_effects
        assert tuple(map(float, numbers)) == (3.0, 2.0, 0.5)
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
        ({"num_components": 3}, "num_components is 3: 0, 2, 4, 8 is expected"),
        ({"num_components": 2, "rank": 1}, "num_components is 2, but with rank 1 nobody deviates"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        PopulationConfig(**fields)


def test_rank_1_is_bradley_terry_times_the_logit_scale():
    prefs = problem()
    alone = dataclasses.replace(GIVEN, rank=1, item_effects=0.0)
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
    assert float(hyper.item_effects) == 0.5
    # What the text says is scaled alike; column 0 has weight 1 for everybody, the others N(0, I).
    directions = np.asarray(learned.params["basis"]["V"])[0]
    np.testing.assert_allclose(model.params["V"], scale * directions, rtol=1e-6)
    assert type(model.prior) is GaussianPrior
    np.testing.assert_array_equal(model.prior.mean, [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(model.prior.covariance, np.diag([0.0, 1.0, 1.0]))
    np.testing.assert_array_equal(predictor.users.weights[:, 0], 1.0)
    adapted = lore.adapt(model, prefs)
    np.testing.assert_array_equal(predictor.users.weights, adapted.weights)


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
