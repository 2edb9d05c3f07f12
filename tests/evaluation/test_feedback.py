"""Scores of predicted answers against numbers worked out by hand and simulated calibration."""

import numpy as np
import pytest

from lore_jax.data.answer_kinds import Kind
from lore_jax.evaluation.feedback import outcome_calibration, score_answers
from lore_jax.users.answering import AnswerProbabilities


def test_scores_of_three_ratings():
    probability = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3]])
    recorded = np.array([0, 1, 2])
    own = np.log(probability[np.arange(3), recorded])
    (row,) = score_answers(
        [AnswerProbabilities(Kind("rating", 1, levels=3), probability, recorded, own)]
    )
    assert (row.kind, row.answers) == ("ratings 1-3", 3)
    assert row.log_loss == pytest.approx(-np.log([0.7, 0.5, 0.3]).mean())
    assert row.uninformed == pytest.approx(np.log(3))
    assert row.accuracy == pytest.approx(2 / 3)


def test_outcomes_that_are_not_listed_have_a_log_loss_alone():
    long = Kind("ranking", 7, places=6)
    (row,) = score_answers([AnswerProbabilities(long, None, np.zeros(2, int), np.full(2, -3.0))])
    assert row.log_loss == 3.0
    assert row.uninformed == pytest.approx(np.log(5040))
    assert np.isnan(row.accuracy)


def test_calibration_is_zero_of_the_truth_and_the_gap_of_a_bias():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(3), 20_000)
    said = np.eye(3)[(rng.random((20_000, 1)) > np.cumsum(truth, axis=1)).sum(axis=1)]
    assert outcome_calibration(truth, said) < 0.006
    flat = np.full((20_000, 2), 0.5)
    row = score_answers(
        [AnswerProbabilities(Kind("rating", 1, levels=3), truth, said.argmax(1), np.zeros(20_000))]
    )[0]
    assert row.calibration_bias == pytest.approx(outcome_calibration(truth, said), abs=0.002)
    biased = np.eye(2)[(rng.random(20_000) < 0.7).astype(int)]
    # All probabilities are alike: bins are cut by position, each with both outcomes.
    assert outcome_calibration(flat + np.array([[0.1, -0.1]]), biased) == pytest.approx(
        0.3, abs=0.02
    )
