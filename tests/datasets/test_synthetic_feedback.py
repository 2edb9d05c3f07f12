"""Synthetic answers occur as often as their own probabilities say."""

import numpy as np
import pytest

from lore_jax.data.answer_kinds import Kind
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.datasets.synthetic_feedback import FIVE, STARS, TIES, TRUE_ANSWERS, synthetic_feedback
from lore_jax.users.answering import AnswerPosterior, answer_probabilities, population_answers

KINDS = {
    TIES: 30,
    FIVE: 30,
    STARS: 30,
    Kind("ranking", 3, places=2): 30,
    Kind("best_worst", 3): 30,
    Kind("pair", 2, levels=2): 30,
}


def test_they_are_calibrated_under_the_truth():
    truth = synthetic(
        SyntheticConfig(num_users=80, num_prompts=30, responses_per_prompt=3, dim=8, rank=2), seed=0
    )
    drawn = synthetic_feedback(truth, KINDS, responses_per_prompt=3, seed=1)
    nobody = population_answers(truth.model, TRUE_ANSWERS, drawn.feedback)
    known = AnswerPosterior(
        nobody.users.replace(weights=truth.weights, covariance=0 * nobody.users.covariance),
        drawn.intercept,
        0 * drawn.intercept,
        0 * nobody.intercept_covariance,
    )
    for found in answer_probabilities(truth.model, TRUE_ANSWERS, known, drawn.feedback):
        # Over 2400 answers a frequency is off by a hundredth (one standard deviation).
        own = np.exp(found.log_probability).mean()
        assert own == pytest.approx(np.sum(found.probability**2, axis=1).mean(), abs=0.03)
        if found.kind.levels > 2:
            frequency = np.bincount(found.recorded) / len(found.recorded)
            np.testing.assert_allclose(frequency, found.probability.mean(axis=0), atol=0.035)
        surprise = -found.log_probability.mean()
        expected = -np.sum(found.probability * np.log(found.probability + 1e-12), axis=1).mean()
        assert surprise == pytest.approx(expected, abs=0.05)


def test_an_answer_about_more_than_a_prompt_has_is_refused():
    truth = synthetic(SyntheticConfig(num_users=3, num_prompts=3, responses_per_prompt=2), seed=0)
    with pytest.raises(ValueError, match="rankings of 3 need 3 responses, a prompt has 2"):
        synthetic_feedback(truth, {Kind("ranking", 3, places=2): 1}, responses_per_prompt=2, seed=0)
