"""Feedback cut in two, drawn from, and turned into strict pairs, against brute force."""

import itertools

import numpy as np
import pytest

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers, from_answers, rankings
from lore_jax.data.feedback_splits import draw_answers, hold_out, strict_pairs

RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((12, 3)).astype(np.float32)
STARS, FIVE = Kind("rating", 1, levels=5), Kind("strength", 2, levels=5)


def drawn(count=60, users=5):
    rows = [RNG.permutation(12)[:3] for _ in range(count)]
    return from_answers(
        TABLE,
        [
            answers(
                STARS,
                RNG.integers(12, size=count),
                RNG.integers(users, size=count),
                outcome=RNG.integers(5, size=count),
                prompt=RNG.integers(4, size=count),
            ),
            *rankings(rows, RNG.integers(users, size=count), prompt=RNG.integers(4, size=count)),
        ],
        num_users=users,
    )


@pytest.mark.parametrize("by", ["answer", "prompt", "response"])
def test_parts_do_not_leak(by):
    feedback = drawn()
    train, test = hold_out(feedback, 0.4, by=by, seed=0)
    assert 0 < test.num_answers < feedback.num_answers
    if by != "response":
        assert train.num_answers + test.num_answers == feedback.num_answers
    if by != "answer":
        sides = [
            {
                int(v)
                for block in part.blocks
                for v in np.ravel(getattr(block, {"prompt": "prompt", "response": "items"}[by]))
            }
            for part in (train, test)
        ]
        assert not sides[0] & sides[1]
    with pytest.raises(ValueError, match=r"share is 1\.5"):
        hold_out(feedback, 1.5, by=by, seed=0)


def test_draws_are_nested_and_leave_the_rest():
    feedback = drawn()
    few, rest = draw_answers(feedback, 3, seed=1)
    more, _ = draw_answers(feedback, 8, seed=1)
    np.testing.assert_array_equal(few.answers_per_user(), 3)
    assert few.num_answers + rest.num_answers == feedback.num_answers
    for small, large in zip(few.blocks, more.blocks, strict=True):
        assert set(small.row) <= set(large.row)
    with pytest.raises(ValueError, match="count is -1"):
        draw_answers(feedback, -1, seed=0)


def test_pairs_are_those_of_brute_force():
    feedback, expected = drawn(), []
    ranked, stars = feedback.blocks
    for items, user in zip(ranked.items, ranked.user, strict=True):
        expected += [(user, *pair) for pair in itertools.combinations(items, 2)]
    rows = list(zip(stars.user, stars.prompt, stars.items[:, 0], stars.outcome, strict=True))
    for one, other in itertools.permutations(rows, 2):
        if one[:2] == other[:2] and one[3] > other[3] and one[2] != other[2]:
            expected.append((one[0], one[2], other[2]))
    pairs = strict_pairs(feedback, max_pairs=10_000)
    found = zip(pairs.user, pairs.chosen, pairs.rejected, strict=True)
    assert sorted(map(tuple, expected)) == sorted(found)
    few = strict_pairs(feedback.take_kinds("rating"), max_pairs=3)
    np.testing.assert_array_equal(few.pairs_per_user(), 3)


def test_ties_middles_and_what_is_unordered_make_no_pair():
    levels = answers(FIVE, [[0, 1]] * 5, user=[0] * 5, outcome=[0, 1, 2, 3, 4])
    pairs = strict_pairs(from_answers(TABLE, [levels]))
    assert list(zip(pairs.chosen, pairs.rejected, strict=True)) == [(1, 0), (1, 0), (0, 1), (0, 1)]
    choice = rankings([[5, 6, 7, 8]], [0], places=1)
    pairs = strict_pairs(from_answers(TABLE, choice))
    assert sorted(pairs.rejected) == [6, 7, 8]
    ends = answers(Kind("best_worst", 4), [[5, 6, 7, 8]], [0])
    pairs = strict_pairs(from_answers(TABLE, [ends]))
    found = set(zip(pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True))
    assert found == {(5, 6), (5, 7), (5, 8), (6, 8), (7, 8)}
