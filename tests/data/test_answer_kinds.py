"""Kinds of answers: how many outcomes they have, and which cannot be."""

import pytest

from lore_jax.data.answer_kinds import Kind


@pytest.mark.parametrize(
    ("kind", "outcomes"),
    [
        (Kind("pair", 2, levels=2), 2),
        (Kind("ranking", 4, places=3), 24),
        (Kind("ranking", 4, places=1), 4),
        (Kind("best_worst", 4), 12),
        (Kind("rating", 1, levels=5), 5),
    ],
)
def test_outcomes_are_counted(kind, outcomes):
    assert kind.num_outcomes == outcomes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Kind("vote", 1, levels=2), "the kind of an answer is 'vote': one of pair"),
        (lambda: Kind("ranking", 1, places=1), "a ranking is about 1 responses: 2 or more"),
        (lambda: Kind("ranking", 3, places=3), "says 3 places: 1 to 2 are expected"),
        (lambda: Kind("rating", 1, levels=1), "a rating has 1 levels: 2 or more"),
        (lambda: Kind("tie", 2, levels=4), "a tie has 4 levels: 3 are expected"),
        (lambda: Kind("rating", 2, levels=5), "a rating is about 2 responses: 1 are expected"),
    ],
)
def test_what_it_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
