"""Predictors of users known by answers: as said, and by the strict pairs of the same answers."""

import numpy as np
from small_objects import small_objects

import lore_jax as lore
from lore_jax.data.feedback_splits import draw_answers, strict_pairs
from lore_jax.methods.as_said import AnswersPredictor, ByStrictPairs
from lore_jax.methods.base import BasisPredictor

SMALL = small_objects()
FEEDBACK, MODEL, TEST = SMALL["feedback"], SMALL["model"], SMALL["prefs"]
HOW = lore.begin_answers(FEEDBACK)


def test_users_of_the_fit_and_users_known_by_shots():
    users = lore.adapt_answers(MODEL, HOW, FEEDBACK)
    predictor = AnswersPredictor(MODEL, HOW, users)
    expected = lore.margins(MODEL, users.users, TEST).mean
    np.testing.assert_array_equal(predictor.fitted(FEEDBACK, TEST).mean, expected)
    np.testing.assert_allclose(predictor.adapted(FEEDBACK, TEST).mean, expected, atol=1e-5)
    nothing, _ = draw_answers(FEEDBACK, 0, seed=0)
    population = lore.population_posterior(MODEL, TEST.num_users)
    expected = lore.margins(MODEL, population, TEST).mean
    np.testing.assert_array_equal(predictor.adapted(nothing, TEST).mean, expected)


def test_who_has_not_rated_may_have_any_intercept():
    predictor = AnswersPredictor(MODEL, HOW, lore.adapt_answers(MODEL, HOW, FEEDBACK))
    known = predictor.known(FEEDBACK.take_kinds("pair", "tie"))
    np.testing.assert_allclose(known.intercept_variance, float(HOW.intercept) ** 2)
    assert np.all(predictor.known(FEEDBACK).intercept_variance < float(HOW.intercept) ** 2)


def test_by_strict_pairs_is_the_method_after_them():
    method = BasisPredictor(MODEL)
    found = ByStrictPairs(method).adapted(FEEDBACK, TEST)
    expected = method.adapted(strict_pairs(FEEDBACK), TEST)
    np.testing.assert_array_equal(found.mean, expected.mean)


def test_both_are_saved_as_models(tmp_path):
    AnswersPredictor(MODEL, HOW, lore.adapt_answers(MODEL, HOW, FEEDBACK)).save(tmp_path / "a")
    ByStrictPairs(BasisPredictor(MODEL)).save(tmp_path / "b")
    assert lore.load_answers(tmp_path / "a")[2].users.num_users == FEEDBACK.num_users
    assert lore.load(tmp_path / "b")[1] is None
