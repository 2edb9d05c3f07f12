"""Feedback: what is understood, what is refused, and taking parts of it."""

import numpy as np
import pytest

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers, from_answers, rankings

TABLE = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
STARS, FIVE = Kind("rating", 1, levels=5), Kind("strength", 2, levels=5)


def some():
    return from_answers(
        TABLE,
        [
            answers(STARS, [3, 0, 5], user=[1, 0, 1], outcome=[4, 0, 2]),
            *rankings([[0, 1, 2], [4, 3], [5, 0, 1]], user=[2, 0, 0], weight=[1.0, 2.0, 3.0]),
            answers(FIVE, [[0, 1]], user=[1], outcome=[3]),
        ],
        user_ids=["ann", "bob", "cy"],
    )


def test_it_says_what_it_understood_and_is_sorted_by_user():
    feedback = some()
    assert repr(feedback) == (
        "1 rankings of 2, 2 rankings of 3, 3 ratings 1-5, 1 strengths 1-5 of 3 users on 6 responses"
    )
    for block in feedback.blocks:
        assert (np.diff(block.user) >= 0).all()
    np.testing.assert_array_equal(feedback.answers_per_user(), [3, 3, 1])
    of_three = feedback.blocks[1]
    np.testing.assert_array_equal(of_three.items, [[5, 0, 1], [0, 1, 2]])
    np.testing.assert_array_equal(of_three.weight, [3.0, 1.0])
    np.testing.assert_array_equal(of_three.row, [2, 0])
    assert feedback.has_ratings


def test_blocks_of_one_kind_are_joined():
    both = [answers(STARS, [1], user=[u], outcome=[u]) for u in (1, 0)]
    feedback = from_answers(TABLE, both)
    assert len(feedback.blocks) == 1
    np.testing.assert_array_equal(feedback.blocks[0].outcome, [0, 1])


def test_users_and_kinds_are_taken():
    feedback = some()
    taken = feedback.take_users(np.array([2, 0]))
    assert taken.user_ids.tolist() == ["cy", "ann"]
    np.testing.assert_array_equal(taken.answers_per_user(), [1, 3])
    assert {block.kind.name for block in feedback.take_kinds("ranking").blocks} == {"ranking"}
    assert not feedback.take_kinds("ranking").has_ratings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rankings([[0, 1], [2]], [0, 0]), "a ranking of 1 responses in answer 1"),
        (lambda: rankings([[0, 1, 0]], [0]), "items are .* in answer 0: responses must differ"),
        (
            lambda: answers(STARS, [0], [0], outcome=[5]),
            r"outcome is 5 in answer 0, outside 0 .. 4",
        ),
        (lambda: answers(STARS, [0], [0]), "outcome is missing"),
        (lambda: answers(STARS, [0.5], [0], outcome=[1]), "items has dtype float64: integers"),
        (lambda: answers(STARS, [0], [0], outcome=[True]), "outcome has dtype bool: integers"),
        (lambda: answers(STARS, [0, 1], [0], outcome=[1, 1]), r"user has shape \(1,\): \[2\]"),
        (
            lambda: answers(Kind("pair", 2, levels=2), [[0, 1]], [0], outcome=[1]),
            "outcome is given: pairs have none",
        ),
        (lambda: from_answers(TABLE, rankings([[0, 6]], [0])), "outside a table of 6 responses"),
        (
            lambda: from_answers(TABLE, rankings([[0, 1]], [3]), num_users=2),
            "user is 3 in answer 0, outside 2 users",
        ),
    ],
)
def test_what_it_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
