"""What an answer is worth: sums over draws in NumPy, and the pair's own criteria."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from answers import log_level, log_ranking, log_tie
from scipy.stats.qmc import MultivariateNormalQMC

from lore_jax.data.answer_kinds import Kind
from lore_jax.datasets.synthetic_feedback import TRUE_ANSWERS
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.users.answer_criteria import (
    expected_answer,
    expected_hessian,
    log_probabilities,
    margin_features,
    next_answers,
)
from lore_jax.users.answering import outcomes_of
from lore_jax.users.criteria import expected_answers

PAIR, TIE = Kind("pair", 2, levels=2), Kind("tie", 2, levels=3)
FIVE, STARS = Kind("strength", 2, levels=5), Kind("rating", 1, levels=5)
RANKING, ENDS = Kind("ranking", 3, places=2), Kind("best_worst", 3)


def transcribed(kind, margin):
    """Log probabilities of all outcomes, `[draws, outcomes]`, from `margin [draws, margins]`."""
    if not kind.levels:
        rewards = np.concatenate([margin, np.zeros((len(margin), 1))], axis=1)
        worst, places = kind.name == "best_worst", max(kind.places, 1)
        return np.stack(
            [
                [log_ranking(row[list(order)], places, worst) for order in outcomes_of(kind)]
                for row in rewards
            ]
        )
    z, levels = margin[:, 0], range(kind.levels)
    if kind == PAIR:
        return -np.logaddexp(0.0, np.stack([z, -z], axis=1))
    if kind == TIE:
        nu = np.exp(float(TRUE_ANSWERS.free[kind.scale][0]))
        return np.stack([log_tie(z, np.full(len(z), level), nu) for level in levels], axis=1)
    cuts = np.asarray(TRUE_ANSWERS.cuts(kind.scale), np.float64)
    return np.stack([log_level(z, np.full(len(z), level), cuts) for level in levels], axis=1)


@pytest.mark.parametrize("kind", [PAIR, TIE, FIVE, STARS, RANKING, ENDS], ids=str)
def test_information_and_hessian_are_those_of_draws(kind):
    rng, margins = np.random.default_rng(0), max(1, kind.num_items - 1)
    mean, root = rng.standard_normal(margins), rng.standard_normal((margins, margins))
    covariance = root @ root.T + 0.5 * np.eye(margins)
    found, information = expected_answer(
        TRUE_ANSWERS, kind, *(jnp.asarray(x, jnp.float32) for x in (mean, covariance))
    )
    draws = MultivariateNormalQMC(mean, covariance, rng=0).random(512)
    each = transcribed(kind, draws)
    probability = np.exp(each)
    expected = probability.mean(axis=0)
    inside = (probability * each).sum(axis=1).mean()
    np.testing.assert_allclose(found, expected, atol=0.015)
    assert float(information) == pytest.approx(
        inside - (expected * np.log(expected)).sum(), abs=0.015
    )
    steps = 1e-4 * np.eye(margins)
    gradient = np.stack([(transcribed(kind, draws + step) - each) / 1e-4 for step in steps])
    hessian = np.einsum("no,ino,jno->ij", probability, gradient, gradient) / len(draws)
    own = expected_hessian(
        TRUE_ANSWERS, kind, *(jnp.asarray(x, jnp.float32) for x in (mean, covariance))
    )
    np.testing.assert_allclose(own, hessian, atol=0.02)


def test_a_pair_is_worth_what_the_criteria_of_pairs_say():
    mean, variance = jnp.array([0.7]), jnp.array([[2.5]])
    answer = expected_answers(LOGISTIC, jnp.zeros(1), mean[:, None], variance)
    probability, information = expected_answer(TRUE_ANSWERS, PAIR, mean, variance)
    assert float(probability[1]) == pytest.approx(float(answer.probability[0]), abs=1e-4)
    assert float(information) == pytest.approx(float(answer.information[0]), abs=1e-4)
    hessian = expected_hessian(TRUE_ANSWERS, PAIR, mean, variance)
    assert float(hessian[0, 0]) == pytest.approx(float(answer.curvature[0, 0]), abs=1e-4)


def test_a_ranking_tells_more_than_a_choice_and_a_choice_more_than_a_pair():
    mean, covariance = jnp.zeros(2), jnp.array([[2.0, 1.0], [1.0, 2.0]])
    ranking, choice = (
        float(expected_answer(TRUE_ANSWERS, Kind("ranking", 3, places=p), mean, covariance)[1])
        for p in (2, 1)
    )
    pair = float(expected_answer(TRUE_ANSWERS, PAIR, mean[:1], covariance[:1, :1])[1])
    assert ranking > choice > pair > 0.0


def test_lapses_leave_a_part_of_what_is_said():
    how, margin = dataclasses.replace(TRUE_ANSWERS, lapse=0.2), jnp.array([[0.4], [-1.0]])
    for kind in (TIE, RANKING, ENDS):
        own = margin[: max(1, kind.num_items - 1)]
        meant = jnp.exp(log_probabilities(TRUE_ANSWERS, kind, own))
        found = jnp.exp(log_probabilities(how, kind, own))
        np.testing.assert_allclose(found, 0.8 * meant + 0.2 / kind.num_outcomes, atol=1e-5)


def test_log_probabilities_add_up_to_one_far_out():
    for kind in (TIE, RANKING, ENDS):
        margin = 200.0 * jax.random.normal(jax.random.key(0), (max(1, kind.num_items - 1), 9))
        total = jnp.sum(jnp.exp(log_probabilities(TRUE_ANSWERS, kind, margin)), axis=0)
        np.testing.assert_allclose(total, 1.0, atol=1e-4)


def test_one_direction_is_not_asked_about_over_and_over():
    # Three candidates along one direction, a bit more informative than a fourth along another.
    rewards = np.zeros((4, 3, 2), np.float32)
    rewards[:3, :, 0] = [1.2, 0.0, -1.2]
    rewards[3, :, 1] = [1.0, 0.0, -1.0]
    features = jnp.asarray(margin_features(RANKING, rewards))
    assert features.shape == (4, 2, 3)
    spread = jnp.diag(jnp.array([2.0, 2.0, 0.0]))
    picks = next_answers(
        TRUE_ANSWERS, RANKING, jnp.zeros(3), spread, features, jnp.array([1, 1, 0, 1]) > 0, count=4
    )
    assert picks.index.tolist()[1] == 3
    assert sorted(picks.index.tolist()) == [-1, 0, 1, 3]
    assert (np.diff(picks.information) <= 1e-6).all()
