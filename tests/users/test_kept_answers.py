"""Answers that a session keeps: added in their order, the last ones dropped first."""

import numpy as np
import pytest

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers
from lore_jax.users.kept_answers import added, last_order, no_answers, without_last

STARS, TIE = Kind("rating", 1, levels=5), Kind("tie", 2, levels=3)


def test_answers_of_two_kinds_are_dropped_in_their_order():
    stars, ties = no_answers(STARS, 2), no_answers(TIE, 2)
    place = np.array([1, 0, 1])
    new = answers(STARS, [5, 6, 7], [0, 0, 0], outcome=[4, 3, 2])
    stars = added(stars, new, place, np.array([1, 1, 3]), 10)
    ties = added(ties, answers(TIE, [[1, 2]], [0], outcome=[1]), place[:1], np.array([2]), 10)
    assert stars.count.tolist() == [1, 2]
    assert stars.items[1, :2, 0].tolist() == [5, 7]
    assert last_order([stars, ties]).tolist() == [1, 3]
    dropped = [without_last([stars, ties], last) for last in (1, 2, 3, 9, None)]
    counts = [[part.count.tolist() for part in parts] for parts in dropped]
    nobody = [[0, 0], [0, 0]]
    assert counts == [[[0, 1], [0, 1]], [[0, 1], [0, 0]], nobody, nobody, nobody]


def test_there_is_room_up_to_the_capacity():
    new = answers(STARS, np.arange(20), np.zeros(20, int), outcome=np.zeros(20, int))
    place, order = np.zeros(20, int), np.arange(1, 21)
    kept = added(no_answers(STARS, 1), new, place, order, 20)
    assert kept.items[0, :20, 0].tolist() == list(range(20))
    with pytest.raises(ValueError, match="would have 40 ratings 1-5: at most 39"):
        added(kept, new, place, order, 39)
