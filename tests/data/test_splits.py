"""Splits, checked from outside: with sets of Python tuples, not the arrays they are made with."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from split_data import one_prompt, own, prompts_of, random_preferences, responses_of

from lore_jax.data import splits
from lore_jax.data.preferences import from_arrays


def parts(prefs, cut):
    assert not (cut.train & cut.test).any()
    assert cut.train.sum() + cut.test.sum() + cut.dropped == prefs.num_pairs
    return prefs.take_pairs(cut.train), prefs.take_pairs(cut.test)


def assert_new_items(prefs, cut, group_by):
    train, test = parts(prefs, cut)
    assert not responses_of(train) & responses_of(test)
    assert group_by == "response" or not prompts_of(train) & prompts_of(test)


def assert_known_items(prefs, cut, group_by):
    train, test = parts(prefs, cut)
    (train_prompts, train_responses), (test_prompts, test_responses) = own(train), own(test)
    assert not train_responses & test_responses
    assert group_by == "response" or not train_prompts & test_prompts


@contextlib.contextmanager
def unlucky_draws_set_aside():
    """Three responses a prompt: now and then no pair has both of its responses on the test side,
    which is refused.
    """
    try:
        yield
    except ValueError as error:
        assume("leaves no" not in str(error))
        raise


@pytest.mark.parametrize("group_by", ["prompt", "response"])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), shared=st.sampled_from([0, 1, 6]), fraction=st.floats(0.2, 0.8))
def test_no_leak(group_by, seed, shared, fraction):
    prefs = random_preferences(seed, shared=shared)
    with unlucky_draws_set_aside():
        assert_new_items(
            prefs, splits.hold_out_groups(prefs, fraction, group_by=group_by, seed=seed), group_by
        )
    assert_known_items(
        prefs, splits.hold_out_within_users(prefs, fraction, group_by=group_by, seed=seed), group_by
    )


@pytest.mark.parametrize(
    ("holdout", "check"), [("new items", assert_new_items), ("known items", assert_known_items)]
)
@pytest.mark.parametrize("group_by", ["prompt", "response"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), shared=st.sampled_from([0, 6]), count=st.integers(2, 5))
def test_folds_never_leak_and_test_everything_once(group_by, holdout, check, seed, shared, count):
    prefs = random_preferences(seed, shared=shared, pairs=600)
    with unlucky_draws_set_aside():
        cuts = splits.folds(prefs, count, holdout=holdout, group_by=group_by, seed=seed)
    assert len(cuts) == count
    for cut in cuts:
        check(prefs, cut, group_by)
    tested = np.sum([cut.test for cut in cuts], axis=0)
    assert tested.max() <= 1
    # No pair can be cross-split here, so that every pair is tested once.
    if group_by == "prompt" and not shared and holdout == "new items":
        assert (tested == 1).all()
        assert all(cut.dropped == 0 for cut in cuts)


def test_folds_of_prompts_are_of_equal_size():
    prefs = random_preferences(0, prompts=17, pairs=2000)
    sizes = [len(prompts_of(prefs.take_pairs(cut.test))) for cut in splits.folds(prefs, 5, seed=1)]
    assert sorted(sizes) == [3, 3, 3, 4, 4]


@pytest.mark.parametrize("fraction", [0.25, 0.3, 0.5, 0.8])
def test_the_fraction_is_exact(fraction):
    prefs = random_preferences(3, pairs=5000, users=3, prompts=20)
    # Every two responses meet in `dense`: none is lost for want of a pair.
    dense = one_prompt(3, users=3, responses=30, pairs=9000)
    train, test = parts(prefs, splits.hold_out_groups(prefs, fraction, seed=0))
    assert (len(prompts_of(train)), len(prompts_of(test))) == (
        20 - round(20 * fraction),
        round(20 * fraction),
    )
    train, test = parts(dense, splits.hold_out_groups(dense, fraction, group_by="response", seed=0))
    assert (len(responses_of(train)), len(responses_of(test))) == (
        30 - round(30 * fraction),
        round(30 * fraction),
    )
    test = prefs.take_pairs(splits.hold_out_within_users(prefs, fraction, seed=0).test)
    of_dense = dense.take_pairs(
        splits.hold_out_within_users(dense, fraction, group_by="response", seed=0).test
    )
    for user in range(3):
        assert len(prompts_of(test.take_users(np.array([user])))) == round(fraction * 20)
        assert len(responses_of(of_dense.take_users(np.array([user])))) == round(fraction * 30)


def test_prompts_without_shared_responses_lose_no_pair():
    prefs = random_preferences(5)
    assert splits.hold_out_groups(prefs, 0.3, seed=0).dropped == 0
    assert splits.hold_out_within_users(prefs, 0.3, seed=0).dropped == 0


def test_cross_split_pairs_of_responses_are_those_with_one_on_each_side():
    prefs = one_prompt(0)
    cut = splits.hold_out_groups(prefs, 0.3, group_by="response", seed=4)
    held_out = responses_of(prefs.take_pairs(cut.test))
    counts = [
        (c in held_out) + (r in held_out) for c, r in zip(prefs.chosen, prefs.rejected, strict=True)
    ]
    assert cut.dropped == counts.count(1)
    assert cut.test.tolist() == [count == 2 for count in counts]


def test_a_response_given_to_prompts_of_both_sides_goes_where_most_of_its_pairs_are():
    # Response 0 answers each of 5 prompts, once; each has a pair of its own replies besides.
    chosen, rejected = [0] * 5 + list(range(6, 11)), list(range(1, 6)) + list(range(11, 16))
    prefs = from_arrays(
        np.ones((16, 1), np.float32), chosen, rejected, [0] * 10, prompt=[*range(5)] * 2
    )
    for seed in range(10):
        cut = splits.hold_out_groups(prefs, 0.4, seed=seed)
        assert (cut.train.sum(), cut.test.sum(), cut.dropped) == (6, 2, 2)


@pytest.mark.parametrize("cut", [splits.hold_out_groups, splits.hold_out_within_users])
def test_the_seed_decides(cut):
    prefs = one_prompt(0)
    first, again, other = (cut(prefs, 0.3, group_by="response", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.test, again.test)
    assert (first.test != other.test).any()


def test_split_users():
    seen, unseen = splits.split_users(10, 0.3, seed=0)
    assert (len(seen), len(unseen)) == (7, 3)
    assert sorted([*seen, *unseen]) == list(range(10))
    assert (np.diff(seen) > 0).all()
    assert (np.diff(unseen) > 0).all()
    assert [len(part) for part in splits.split_users(2, 0.01, seed=0)] == [1, 1]
    assert [len(part) for part in splits.split_users(3, 0.99, seed=0)] == [1, 2]


def test_every_user_is_as_likely_to_be_unseen():
    drawn = np.zeros(10)
    for seed in range(600):
        drawn[splits.split_users(10, 0.3, seed=seed)[1]] += 1
    assert abs(drawn / 600 - 0.3).max() < 0.075  # four standard errors


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_shots_are_nested_and_limited(seed):
    prefs = random_preferences(seed, users=20)
    whole = prefs.pairs_per_user()
    draws = [splits.draw_shots(prefs, shots, seed=seed) for shots in (0, 1, 5, 10, 10_000)]
    for shots, draw in zip((0, 1, 5, 10, 10_000), draws, strict=True):
        np.testing.assert_array_equal(draw.pairs_per_user(), np.minimum(whole, shots))
        assert draw.num_users == prefs.num_users
    for fewer, more in itertools.pairwise(draws):
        assert set(fewer.row) <= set(more.row)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_prompts_are_drawn_whole_and_nested(seed):
    prefs = random_preferences(seed, users=20)
    draws = [splits.draw_prompts(prefs, count, seed=seed) for count in (0, 1, 3, 10_000)]
    of_user = [
        {(user, prompt) for user, prompt in zip(draw.user, draw.prompt, strict=True)}
        for draw in draws
    ]
    whole = set(zip(prefs.user, prefs.prompt, strict=True))
    for count, draw, drawn in zip((0, 1, 3, 10_000), draws, of_user, strict=True):
        for user in range(20):
            available = sum(owner == user for owner, _ in whole)
            assert sum(owner == user for owner, _ in drawn) == min(count, available)
        # All pairs on a drawn prompt are drawn.
        inside = [pair in drawn for pair in zip(prefs.user, prefs.prompt, strict=True)]
        np.testing.assert_array_equal(np.sort(draw.row), np.sort(prefs.row[inside]))
    assert of_user[0] <= of_user[1] <= of_user[2] <= of_user[3] == whole


def test_every_pair_is_as_likely_to_be_a_shot():
    prefs = from_arrays(np.ones((9, 1), np.float32), range(8), range(1, 9), [0] * 5 + [1] * 3)
    count = np.zeros(8)
    for seed in range(900):
        count[splits.draw_shots(prefs, 2, seed=seed).row] += 1
    np.testing.assert_allclose(
        count / 900, [2 / 5] * 5 + [2 / 3] * 3, atol=0.066
    )  # four standard errors


SINGLE = one_prompt(0)


DISJOINT = from_arrays(np.ones((4, 1), np.float32), [0, 2], [1, 3], [0, 1])


EMPTY = from_arrays(np.ones((4, 1), np.float32), [], [], [], num_users=3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: splits.split_users(1, 0.5, seed=0),
            "1 users cannot be split into seen and unseen",
        ),
        (lambda: splits.split_users(9, 1.0, seed=0), r"unseen is 1\.0: a share between 0 and 1"),
        (lambda: splits.split_users(9, float("nan"), seed=0), "unseen is nan: a share"),
        (
            lambda: splits.hold_out_groups(SINGLE, 0.3, seed=0),
            "there are not 2 prompts .* group_by='response'",
        ),
        (
            lambda: splits.hold_out_within_users(SINGLE, 0.3, seed=0),
            "no user has 2 prompts .* group_by='response'",
        ),
        (lambda: splits.hold_out_groups(SINGLE, 0.0, group_by="response", seed=0), "fraction is 0"),
        (
            lambda: splits.hold_out_groups(SINGLE, 0.3, group_by="dialogue", seed=0),
            "group_by is 'dialogue': 'prompt' or",
        ),
        (lambda: splits.hold_out_groups(EMPTY, 0.3, seed=0), "hold no pairs"),
        (
            lambda: splits.hold_out_groups(DISJOINT, 0.1, group_by="response", seed=0),
            "0.1 of 4 responses leaves no test",
        ),
        (
            lambda: splits.hold_out_within_users(DISJOINT, 0.5, group_by="response", seed=0),
            "the users' responses leaves",
        ),
        (
            lambda: splits.folds(SINGLE, 1, group_by="response", seed=0),
            "count is 1: 2 folds or more",
        ),
        (
            lambda: splits.folds(SINGLE, 40, group_by="response", seed=0),
            "30 responses cannot fill 40 folds",
        ),
        (
            lambda: splits.folds(SINGLE, 2, holdout="new", group_by="response", seed=0),
            "holdout is 'new': 'new items' or 'known items'",
        ),
        (
            lambda: splits.folds(DISJOINT, 4, group_by="response", seed=0),
            "fold 0 of 4 over 4 responses leaves no test",
        ),
        (lambda: splits.draw_shots(SINGLE, -1, seed=0), "shots is -1: 0 or more"),
        (lambda: splits.draw_prompts(SINGLE, -1, seed=0), "prompts is -1: 0 or more"),
    ],
)
def test_what_cannot_be_split_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_folds_of_users_leave_each_out_once():
    parts = [splits.split_users(11, (k, 3), seed=0) for k in range(3)]
    assert [len(unseen) for _, unseen in parts] == [4, 4, 3]
    assert sorted(np.concatenate([unseen for _, unseen in parts])) == list(range(11))
    for seen, unseen in parts:
        assert sorted([*seen, *unseen]) == list(range(11))


@pytest.mark.parametrize(
    ("prefs", "holdout", "group_by"),
    [
        (random_preferences(0, prompts=12), "new items", "prompt"),
        (random_preferences(0, prompts=11), "new items", "response"),  # fewer than three a fold
        (one_prompt(0), "new items", "response"),
        (random_preferences(0, prompts=4), "known items", "prompt"),
        (one_prompt(0), "known items", "response"),
    ],
)
def test_folds_find_their_groups(prefs, holdout, group_by):
    check = assert_new_items if holdout == "new items" else assert_known_items
    cuts = splits.folds(prefs, 4, holdout=holdout, seed=0)
    for cut in cuts:
        check(prefs, cut, group_by)
    explicit = splits.folds(prefs, 4, holdout=holdout, group_by=group_by, seed=0)
    dropped, at_random = (sum(cut.dropped for cut in found) for found in (cuts, explicit))
    assert dropped <= at_random
    assert group_by == "response" or dropped == 0
