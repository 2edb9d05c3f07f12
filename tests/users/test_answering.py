"""Users known by answers of all kinds: optima of scipy, probabilities of draws, odd users."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from answers import log_level, log_ranking, log_tie, optimum
from scipy.special import log_expit
from small_objects import small_objects

import lore_jax as lore
from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers, from_answers
from lore_jax.data.feedback_splits import strict_pairs
from lore_jax.model.answer_model import begin_answers
from lore_jax.model.prior import SimplexPrior
from lore_jax.users.answering import (
    adapt_answers,
    answer_probabilities,
    outcomes_of,
    population_answers,
)

SPREAD = 0.8


@pytest.fixture(scope="module")
def known():
    objects = small_objects()
    feedback = objects["feedback"]
    how = begin_answers(feedback, intercept=SPREAD)
    model = objects["model"].replace(basis_posterior=None)  # what is transcribed below knows it
    return model, how, feedback, adapt_answers(model, how, feedback)


def log_probability_of(model, how, feedback, user):
    """Of (deviations, intercept over its spread), all of one user's answers, in NumPy."""
    table = np.asarray(lore.rewards(model, feedback.embeddings).table, np.float64)
    factor = np.asarray(model.prior.factor, np.float64)
    cuts = {scale: np.asarray(how.cuts(scale)) for scale in how.free if scale != "tie 3"}
    nu = np.exp(float(how.free["tie 3"][0]))

    def log_probability(d):
        reward, total = table @ (np.asarray(model.prior.mean) + factor @ d[:-1]), 0.0
        for block in feedback.blocks:
            own, name = block.user == user, block.kind.name
            items, level = reward[block.items[own]], block.outcome[own]
            if name == "ranking":
                total += sum(log_ranking(row, block.kind.places) for row in items)
            elif name == "rating":
                total += log_level(
                    items[:, 0] + SPREAD * d[-1], level, cuts[block.kind.scale]
                ).sum()
            else:
                z = items[:, 0] - items[:, 1]
                if name == "pair":
                    total += log_expit(z).sum()
                elif name == "tie":
                    total += log_tie(z, level, nu).sum()
                else:
                    total += log_level(z, level, cuts[block.kind.scale]).sum()
        return total

    return log_probability


@pytest.mark.parametrize("user", [0, 7])
def test_weights_and_covariance_are_those_of_scipy(known, user):
    model, how, feedback, found = known
    mode, covariance = optimum(log_probability_of(model, how, feedback, user), 3)
    factor = np.asarray(model.prior.factor, np.float64)
    weights = np.asarray(model.prior.mean) + factor @ mode[:-1]
    np.testing.assert_allclose(found.users.weights[user], weights, atol=1e-4)
    spread = factor @ covariance[:-1, :-1] @ factor.T
    np.testing.assert_allclose(found.users.covariance[user], spread, atol=1e-3)
    assert found.intercept[user] == pytest.approx(SPREAD * mode[-1], abs=1e-3)
    assert found.intercept_variance[user] == pytest.approx(SPREAD**2 * covariance[-1, -1], abs=1e-3)
    both = SPREAD * factor @ covariance[:-1, -1]
    np.testing.assert_allclose(found.intercept_covariance[user], both, atol=1e-3)


def test_pairs_alone_are_what_adapt_gives(known):
    model, how, feedback, _ = known
    pairs = feedback.take_kinds("pair")
    found, expected = adapt_answers(model, how, pairs).users, lore.adapt(model, strict_pairs(pairs))
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-4)
    np.testing.assert_allclose(found.covariance, expected.covariance, atol=1e-4)
    np.testing.assert_array_equal(found.shots, expected.shots)


def test_probabilities_of_all_outcomes_add_up_and_are_those_of_draws(known):
    model, how, feedback, found = known
    table = np.asarray(lore.rewards(model, feedback.embeddings).table, np.float64)
    predicted = answer_probabilities(model, how, found, feedback)
    rng = np.random.default_rng(0)
    for block, one in zip(feedback.blocks, predicted, strict=True):
        np.testing.assert_allclose(one.probability.sum(axis=1), 1.0, atol=1e-5)
        own = one.probability[np.arange(len(block)), one.recorded]
        np.testing.assert_allclose(np.exp(one.log_probability), own, atol=1e-5)
    block = next(block for block in feedback.blocks if block.kind.name == "rating")
    one = predicted[list(feedback.blocks).index(block)]
    user = int(block.user[5])
    mean = np.append(found.users.weights[user], found.intercept[user])
    both = found.intercept_covariance[user][:, None]
    covariance = np.block(
        [[found.users.covariance[user], both], [both.T, found.intercept_variance[user]]]
    )
    draws = rng.multivariate_normal(mean, covariance, 20_000, check_valid="ignore")
    reward = draws[:, :-1] @ table[block.items[5, 0]] + draws[:, -1]
    cuts = np.asarray(how.cuts(block.kind.scale))
    expected = [np.exp(log_level(reward, np.full(len(reward), k), cuts)).mean() for k in range(5)]
    np.testing.assert_allclose(one.probability[5], expected, atol=0.01)


def test_the_first_order_is_what_was_said():
    for kind in (Kind("ranking", 4, places=2), Kind("best_worst", 4)):
        orders = outcomes_of(kind)
        assert orders[0] == (0, 1, 2, 3)
        assert len(set(orders)) == kind.num_outcomes


def test_users_who_say_one_thing_only_and_nobody_are_finite_and_near_the_population(known):
    model, how, feedback, _ = known
    stars = Kind("rating", 1, levels=5)
    best = [answers(stars, np.arange(30), [0] * 30, outcome=[4] * 30)]
    odd = from_answers(feedback.embeddings, best, num_users=2)
    found = adapt_answers(model, how, odd)
    assert found.users.converged.all()
    assert found.intercept[0] > SPREAD  # it is the intercept that says so
    np.testing.assert_allclose(found.users.weights[1], model.prior.mean)
    assert np.linalg.norm(found.users.weights[0] - np.asarray(model.prior.mean)) < 2.0
    nobody = population_answers(model, how, odd)
    assert float(found.intercept_variance[1]) == pytest.approx(nobody.intercept_variance[1])
    unrated = adapt_answers(model, how, feedback.take_kinds("pair"))  # whose ratings may come later
    np.testing.assert_allclose(unrated.intercept_variance, SPREAD**2, rtol=1e-6)


def test_with_lapses_users_converge_and_are_less_sure_of_what_surprises(known):
    model, how, feedback, found = known
    careful = adapt_answers(model, dataclasses.replace(how, lapse=0.2), feedback)
    assert np.isfinite(careful.users.weights).all()
    assert careful.users.converged.mean() > 0.9
    spread = [np.trace(one.users.covariance, axis1=1, axis2=2).mean() for one in (careful, found)]
    assert spread[0] > spread[1]


def test_what_it_refuses(known):
    model, how, feedback, found = known
    other = answers(Kind("rating", 1, levels=7), [0, 1], [0, 0], outcome=[0, 6])
    with pytest.raises(ValueError, match="has no scale 'rating 7': it has rating 5, strength 5"):
        adapt_answers(model, how, from_answers(feedback.embeddings, [other]))
    with pytest.raises(ValueError, match="the posterior has 40 users, the feedback has 2"):
        answer_probabilities(model, how, found, feedback.take_users(np.arange(2)))
    simplex = model.replace(prior=SimplexPrior(jnp.full(3, 1 / 3)))
    with pytest.raises(ValueError, match="the model has a SimplexPrior: ratings need"):
        adapt_answers(simplex, how, feedback)
