"""Rows of answers: means over users of log probabilities, and influences as of any row."""

import numpy as np
import pytest
from small_objects import small_objects

import lore_jax as lore
from lore_jax.data.feedback_splits import hold_out, strict_pairs
from lore_jax.evaluation.answer_gains import (
    answer_gains,
    mean_of,
    over_strict_pairs,
    strict_pairs_name,
)
from lore_jax.evaluation.answer_rows import ALL_ANSWERS, AnswerCondition, _uninformed, answer_rows
from lore_jax.evaluation.evaluate import ConditionByAnswers, evaluate
from lore_jax.evaluation.feedback import score_answers
from lore_jax.evaluation.influences import buckets_of_answers
from lore_jax.evaluation.names import MISMATCHED_USER
from lore_jax.evaluation.results import describe_split, join, make_results, name_of_shots, plain
from lore_jax.methods.as_said import AnswersPredictor, ByStrictPairs
from lore_jax.methods.base import BasisPredictor
from lore_jax.users.answering import AnswerProbabilities

SMALL = small_objects()
MODEL = SMALL["model"]
TRAIN, TEST = hold_out(SMALL["feedback"], 0.3, by="prompt", seed=0)
HOW = lore.begin_answers(TRAIN)
KNOWN = lore.adapt_answers(MODEL, HOW, TRAIN)
PREDICTOR = AnswersPredictor(MODEL, HOW, KNOWN)
ABOUT = {"group_by": "prompt", "data": "small", "seed": 0}


@pytest.fixture(scope="module")
def rows():
    conditions = [
        AnswerCondition("seen", "new items", TRAIN, TEST),
        AnswerCondition("unseen", "new items", TRAIN, TEST),
    ]
    return answer_rows(PREDICTOR, conditions, method="gaussian", shots=(0, 20), **ABOUT)


@pytest.fixture(scope="module")
def results(rows):
    pairs = strict_pairs(TEST)
    conditions = [
        ConditionByAnswers("seen", "new items", TRAIN, pairs),
        ConditionByAnswers("unseen", "new items", TRAIN, pairs),
    ]
    strict = ByStrictPairs(BasisPredictor(MODEL))
    methods = {"gaussian": PREDICTOR, strict_pairs_name("gaussian"): strict}
    entry = describe_split(
        {"seen": range(TEST.num_users), "unseen": range(TEST.num_users)},
        items=["new items"],
        group_by="prompt",
        digest="",
        data="small",
    )
    found = make_results(
        evaluate(methods, conditions, shots=(0, 20), **ABOUT), [entry], name="x", config={}, seed=0
    )
    return {**found, "answers": plain(rows), "method": "gaussian"}


def test_losses_are_means_over_users_of_what_was_said(rows):
    predicted = lore.answer_probabilities(MODEL, HOW, KNOWN, TEST)
    seen = [row for row in rows if (row["users"], row["shots"]) == ("seen", None)]
    own = {row["kind"]: row for row in seen if row["control"] is None}
    for one, block, scores in zip(predicted, TEST.blocks, score_answers(predicted), strict=True):
        row, loss = own[str(block.kind)], -one.log_probability
        users = np.unique(block.user)
        expected = np.mean([loss[block.user == user].mean() for user in users])
        assert row["log_loss"] == pytest.approx(expected, rel=1e-5)
        assert (row["num_users"], row["num_answers"]) == (len(users), len(block))
        np.testing.assert_equal(row["calibration"], scores.calibration)
    assert own[ALL_ANSWERS]["num_answers"] == TEST.num_answers
    assert {row["control"] for row in seen} == {None, MISMATCHED_USER}


def test_an_uninformed_guess_knows_how_often_levels_occur(rows):
    block = next(b for b in TEST.blocks if b.kind.name == "rating")
    share = np.bincount(block.outcome, minlength=5) / len(block)
    loss = -np.log(share[block.outcome])
    expected = np.mean([loss[block.user == user].mean() for user in np.unique(block.user)])
    (row,) = [
        row
        for row in rows
        if row["kind"] == "ratings 1-5" and (row["users"], row["shots"]) == ("seen", 0)
    ]
    assert row["uninformed"] == pytest.approx(expected, rel=1e-6)


def test_that_the_better_response_stands_first_is_no_information():
    kind = lore.Kind("tie", 2, levels=3)
    one = AnswerProbabilities(kind, None, np.array([2, 2, 2, 1]), np.zeros(4))
    np.testing.assert_allclose(_uninformed(one), -np.log([3 / 8, 3 / 8, 3 / 8, 2 / 8]))


@pytest.mark.parametrize("group_by", ["prompt", "response"])
def test_each_answer_touches_its_items_once(group_by):
    items, cells = buckets_of_answers(TEST, group_by)
    start = 0
    for block in TEST.blocks:
        sign = np.abs(items.sign[start : start + len(block)])
        expected = block.kind.num_items if group_by == "response" else 1
        np.testing.assert_array_equal(sign.sum(axis=1), expected)
        start += len(block)
    assert len(cells.index) == TEST.num_answers
    one = np.zeros(TEST.num_answers)
    one[5] = 1.0
    assert np.abs(items.add(one)).sum() > 0


def test_gains_are_differences_of_rows(results, rows):
    gains = answer_gains(results)
    assert [gain.where.users for gain in gains[:: len(TEST.blocks) + 1]] == ["unseen", "seen"]
    for gain in gains:
        before, after = mean_of(gain.population, "log_loss"), mean_of(gain.personal, "log_loss")
        assert gain.saved.mean == pytest.approx(before - after, abs=1e-4)
        assert gain.saved.low < gain.saved.mean < gain.saved.high
        assert gain.over_mismatched is not None
    everything = [gain for gain in gains if gain.kind == ALL_ANSWERS]
    assert all(gain.saved.mean > 0 for gain in everything)
    assert answer_gains({**results, "answers": []}) == []
    assert np.isnan(mean_of([{"accuracy": None}], "accuracy"))


def test_answers_are_compared_with_the_pairs_they_make(results):
    unseen, seen = over_strict_pairs(results, "gaussian")
    assert (unseen.where.shots, seen.where.shots) == (20, None)
    assert "points (95 % interval" in unseen.statement
    assert unseen.accuracy.low <= unseen.accuracy.mean <= unseen.accuracy.high
    assert over_strict_pairs(results, "ridge BT") == []


def test_results_of_answers_are_joined_and_named(results):
    other = {**results, "splits": [{**results["splits"][0], "split": 1}]}
    other["answers"] = [{**row, "split": 1} for row in results["answers"]]
    assert len(join([results, other])["answers"]) == 2 * len(results["answers"])
    assert name_of_shots(results) == "answers"
    assert name_of_shots({**results, "answers": []}) == "comparisons"
