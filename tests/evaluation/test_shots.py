"""Pairs and answers of every kind are drawn, counted and told apart by what they are about."""

import numpy as np
from small_objects import small_objects

from lore_jax.data.feedback_splits import draw_answers
from lore_jax.data.splits import draw_shots
from lore_jax.evaluation.controls import derangement, donors
from lore_jax.evaluation.shots import asked_about, count_per_user, draw

SMALL = small_objects()
FEEDBACK, PREFS = SMALL["feedback"], SMALL["prefs"]


def test_draws_are_those_of_pairs_and_of_answers():
    np.testing.assert_array_equal(draw(PREFS, 4, seed=3).row, draw_shots(PREFS, 4, seed=3).row)
    drawn, expected = draw(FEEDBACK, 4, seed=3), draw_answers(FEEDBACK, 4, seed=3)[0]
    for one, other in zip(drawn.blocks, expected.blocks, strict=True):
        np.testing.assert_array_equal(one.row, other.row)
    assert count_per_user(drawn).max() == 4
    assert count_per_user(draw(PREFS, 4, seed=3)).max() == 4


def test_what_was_asked_about_is_every_response_of_every_answer():
    assert asked_about(PREFS) is PREFS
    about = asked_about(FEEDBACK)
    assert about.num_pairs == sum(block.items.size for block in FEEDBACK.blocks)
    for user in (0, 7):
        expected = np.sort(
            np.concatenate([b.items[b.user == user].ravel() for b in FEEDBACK.blocks])
        )
        np.testing.assert_array_equal(np.sort(about.chosen[about.user == user]), expected)
    other = derangement(FEEDBACK.num_users, seed=0)
    assert (donors(about, mismatched=other) != np.arange(FEEDBACK.num_users)).all()
