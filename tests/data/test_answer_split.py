"""Answers are cut whole, as pairs are, and nothing leaks from one part to another."""

import itertools

import numpy as np
import pytest

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.answer_split import split_answers, take_answers
from lore_jax.data.feedback import answers, from_answers, rankings
from lore_jax.data.four_way import four_way
from lore_jax.data.preferences import from_arrays
from lore_jax.data.summary import summary

USERS, PROMPTS, REPLIES = 30, 40, 4
TABLE = np.random.default_rng(0).normal(size=(PROMPTS * REPLIES, 6)).astype(np.float32)
STARS, FIVE = Kind("rating", 1, levels=5), Kind("strength", 2, levels=5)


def draw(*, one_prompt=False, seed=0):
    """Every user says six things of three kinds on random prompts, or on one large one."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(USERS), 6)
    prompt = rng.integers(PROMPTS, size=len(user))
    within = np.argsort(rng.random((len(user), REPLIES)), axis=1)
    items = prompt[:, None] * REPLIES + within
    if one_prompt:
        items = np.argsort(rng.random((len(user), len(TABLE))), axis=1)[:, :REPLIES]
        prompt = np.zeros_like(prompt)
    about = {"user": user, "prompt": prompt}
    levels = {"outcome": rng.integers(5, size=len(user))}
    blocks = [
        answers(STARS, items[:, :1], **about, **levels),
        answers(FIVE, items[:, :2], **about, **levels),
        *rankings(items[:, :3].tolist(), **about),
    ]
    return from_answers(TABLE, blocks, user_ids=[f"user {i}" for i in range(USERS)])


def parts_of(split):
    return {"train": split.train, "shots": split.shots, **split.tests}


def values(part, name):
    """Everything that the answers of a part touch."""
    return set(np.concatenate([np.ravel(getattr(block, name)) for block in part.blocks]).tolist())


def test_new_prompts_and_unseen_users_are_in_one_part_alone():
    split = split_answers(draw(), items=("new items",), group_by="prompt", seed=1)
    trained = values(split.train, "prompt") | values(split.shots, "prompt")
    tested = set().union(*(values(test, "prompt") for test in split.tests.values()))
    assert not trained & tested
    assert not set(split.seen_users) & set(split.unseen_users)
    numbers = np.concatenate(list(split.rows.values()))
    assert len(np.unique(numbers)) == len(numbers)
    assert split.dropped.cross_split == 0
    total = len(numbers) + split.dropped.pairs_of_users
    assert total == draw().num_answers


def test_responses_are_on_one_side_and_answers_are_whole():
    split = split_answers(draw(one_prompt=True), items=("new items",), seed=1)
    assert split.group_by == "response"
    trained = values(split.train, "items") | values(split.shots, "items")
    tested = set().union(*(values(test, "items") for test in split.tests.values()))
    assert not trained & tested
    assert split.dropped.cross_split > 0


def test_known_items_are_those_of_the_fit():
    split = split_answers(draw(), items=("known items",), group_by="prompt", seed=1)
    for test in split.tests.values():
        assert values(test, "prompt") <= values(split.train, "prompt")


def test_every_user_has_the_least_in_every_part():
    split = split_answers(draw(one_prompt=True), min_train=3, min_test=1, seed=1)
    assert split.train.answers_per_user().min() >= 3
    assert split.shots.answers_per_user().min() >= 3
    assert min(test.answers_per_user().min() for test in split.tests.values()) >= 1
    np.testing.assert_array_equal(
        split.train.user_ids, [f"user {i}" for i in split.seen_users.tolist()]
    )


def test_pairs_are_cut_as_four_way_cuts_them():
    rng = np.random.default_rng(3)
    user, prompt = np.repeat(np.arange(USERS), 8), rng.integers(PROMPTS, size=8 * USERS)
    items = REPLIES * prompt[:, None] + np.argsort(rng.random((len(user), REPLIES)), axis=1)[:, :2]
    feedback = from_answers(TABLE, [answers(Kind("pair", 2, levels=2), items, user, prompt=prompt)])
    prefs = from_arrays(TABLE, items[:, 0], items[:, 1], user, prompt=prompt)
    ours, theirs = split_answers(feedback, seed=5), four_way(prefs, seed=5)
    assert ours.digest == theirs.digest
    assert ours.dropped == theirs.dropped
    for name, row in theirs.rows.items():
        np.testing.assert_array_equal(np.sort(ours.rows[name]), np.sort(row))
    assert summary(ours)[0] == summary(theirs)[0].replace(" pairs", " answers")


def test_folds_test_every_answer_once():
    feedback = draw()
    tested = [
        split_answers(feedback, group_by="prompt", fold=(k, 3), min_test=0, seed=2).rows
        for k in range(3)
    ]
    numbers = [row for rows in tested for name, row in rows.items() if name.startswith("test/seen")]
    assert all(not set(a) & set(b) for a, b in itertools.combinations(map(tuple, numbers), 2))


def test_taking_answers_by_number():
    feedback = draw()
    assert take_answers(feedback, np.arange(0), np.arange(2)).num_answers == 0
    taken = take_answers(feedback, np.arange(feedback.num_answers), np.array([4, 2]))
    assert taken.num_answers == 36
    assert taken.user_ids.tolist() == ["user 4", "user 2"]


def test_too_few_users_are_one_line():
    one = answers(STARS, [0, 4], [0, 1], outcome=[1, 2], prompt=[0, 1])
    with pytest.raises(ValueError, match="0 of 2 users have 1 training answers and 1 test answers"):
        split_answers(from_answers(TABLE, [one]), group_by="prompt", seed=0)
    order = answers(Kind("ranking", 3, places=2), [[0, 1, 2], [4, 5, 6]], [0, 1], prompt=[0, 1])
    with pytest.raises(ValueError, match=r"training pairs .* next to each other in an answer\)$"):
        split_answers(from_answers(TABLE, [order]), group_by="prompt", seed=0)
