"""The 2 x 2 hold-out, checked from outside: with sets of Python tuples, not its own arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_shapes import own_prompts, raters, workers
from split_data import one_prompt, own, prompts_of, random_preferences, responses_of

from lore_jax.data.four_way import four_way
from lore_jax.data.preferences import from_arrays
from lore_jax.data.summary import summary

BOTH = ("known items", "new items")
CONDITIONS = {(users, items) for users in ("seen", "unseen") for items in BOTH}


@pytest.mark.parametrize("group_by", ["prompt", "response"])
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shared=st.sampled_from([0, 6]),
    least=st.sampled_from([(1, 1), (8, 3)]),
)
def test_four_way_never_leaks(group_by, seed, shared, least):
    prefs = random_preferences(seed, users=20, prompts=12, pairs=3000, shared=shared)
    minima = {"min_train": least[0], "min_test": least[1]}
    split = four_way(prefs, group_by=group_by, items=BOTH, **minima, seed=seed)
    assert set(split.tests) == CONDITIONS
    seen, unseen = split.seen_users, split.unseen_users
    assert not set(seen) & set(unseen)
    ids = {"seen": seen, "unseen": unseen}
    base = {"seen": split.train, "unseen": split.shots}
    groups_of = prompts_of if group_by == "prompt" else responses_of
    for (users, items), test in split.tests.items():
        given = base[users]
        assert test.num_users == len(ids[users]) == given.num_users
        assert test.pairs_per_user().min() >= least[1]
        assert given.pairs_per_user().min() >= least[0]
        if items == "new items":
            for prefs_of_users in base.values():
                assert not responses_of(test) & responses_of(prefs_of_users)
                assert not groups_of(test) & groups_of(prefs_of_users)
        else:
            assert groups_of(test) <= groups_of(split.train)
            (given_prompts, given_responses), (test_prompts, test_responses) = own(given), own(test)
            assert not given_responses & test_responses
            assert group_by == "response" or not given_prompts & test_prompts
    every = [split.train, split.shots, *split.tests.values()]
    rows = np.concatenate([part.row for part in every])
    assert len(set(rows)) == len(rows)
    assert len(rows) + sum(split.dropped[1:]) == prefs.num_pairs
    assert split.dropped.users == 20 - len(seen) - len(unseen)


def test_four_way_keeps_the_users_names_and_numbers():
    prefs = random_preferences(0, users=20, pairs=3000)
    named = from_arrays(
        prefs.embeddings, prefs.chosen, prefs.rejected, prefs.user, prompt=prefs.prompt,
        user_ids=[f"user {i}" for i in range(20)],
    )  # fmt: skip
    split = four_way(named, seed=0)
    for (users, _), test in split.tests.items():
        ids = {"seen": split.seen_users, "unseen": split.unseen_users}[users]
        assert test.user_ids.tolist() == [f"user {i}" for i in ids]
        np.testing.assert_array_equal(ids[test.user], prefs.user[test.row])


def test_four_way_of_one_column():
    prefs = one_prompt(0, pairs=3000)
    new = four_way(prefs, group_by="response", items=("new items",), seed=0)
    assert set(new.tests) == {("seen", "new items"), ("unseen", "new items")}
    known = four_way(prefs, group_by="response", items=("known items",), seed=0)
    assert set(known.tests) == {("seen", "known items"), ("unseen", "known items")}
    # Nothing is held out for all users, or within users: there is more to train on than with both.
    both = four_way(prefs, group_by="response", items=BOTH, seed=0)
    assert both.train.num_pairs < min(new.train.num_pairs, known.train.num_pairs)


def test_known_test_pairs_whose_prompts_nobody_trained_on_are_dropped():
    # Each user answers prompts of their own: none of their test prompts can be in the fit of
    # another.
    user, prompt = np.repeat(np.arange(6), 10), np.arange(60)
    prefs = from_arrays(
        np.ones((120, 1), np.float32), 2 * prompt, 2 * prompt + 1, user, prompt=prompt
    )
    with pytest.raises(ValueError, match=r"no two users share .*--split.items 'new items'"):
        four_way(prefs, items=("known items",), seed=0)
    split = four_way(prefs, items=("known items",), min_test=0, seed=0)
    assert all(test.num_pairs == 0 for test in split.tests.values())
    assert split.dropped == (0, 0, 0, 18)
    assert four_way(prefs, items=("new items",), min_test=0, seed=0).dropped == (0, 0, 0, 0)


def test_the_digest_recognises_a_split():
    prefs = random_preferences(0, users=20, pairs=3000)
    digest = four_way(prefs, seed=0).digest
    assert len(digest) == 64
    assert four_way(prefs, seed=0).digest == digest
    # The same pairs in another order, with their split by the same seed, are the same split.
    order = np.random.default_rng(1).permutation(prefs.num_pairs)
    columns = (getattr(prefs, name)[order] for name in ("chosen", "rejected", "user"))
    shuffled = from_arrays(prefs.embeddings, *columns, prompt=prefs.prompt[order], num_users=20)
    assert four_way(shuffled, seed=0).digest == digest
    others = [
        four_way(prefs, seed=1),
        four_way(prefs, test=0.2, seed=0),
        four_way(prefs, unseen_users=0.5, seed=0),
    ]
    swapped = from_arrays(
        prefs.embeddings,
        prefs.rejected,
        prefs.chosen,
        prefs.user,
        prompt=prefs.prompt,
        num_users=20,
    )
    assert len({digest, *(split.digest for split in [*others, four_way(swapped, seed=0)])}) == 5


SHAPES = {
    "workers": workers(users=120, pairs=10_000, texts=320),
    "workers of one topic": workers(users=120, pairs=10_000, texts=320, topics_each=1),
    "raters": raters(users=80, texts=600),
    "own prompts": own_prompts(users=40, prompts=12),
}
GROUPED_BY = {
    ("workers", "new items"): "response",
    ("workers", "known items"): "prompt",
    ("workers of one topic", "new items"): "response",
    ("workers of one topic", "known items"): "response",
    ("raters", "new items"): "response",
    ("raters", "known items"): "response",
    ("own prompts", "new items"): "prompt",
}


@pytest.mark.parametrize(("shape", "items"), GROUPED_BY)
def test_by_default_most_users_and_pairs_are_kept_and_nothing_leaks(shape, items):
    prefs = SHAPES[shape]
    split = four_way(prefs, items=(items,), seed=0)
    assert split.group_by == GROUPED_BY[shape, items]
    assert_no_leak(split, (items,))
    users = len(split.seen_users) + len(split.unseen_users)
    assert users >= 0.9 * prefs.num_users
    assert split.dropped.cross_split < 0.45 * prefs.num_pairs
    lost = split.dropped.pairs_of_users + split.dropped.not_in_fit
    assert lost < 0.1 * (prefs.num_pairs - split.dropped.cross_split)
    (line, *few), sizes = summary(split), [f"{users} of {prefs.num_users} users kept"]
    if split.dropped.cross_split:
        sizes.append(f"{split.dropped.cross_split:,} of {prefs.num_pairs:,} pairs are cross-split")
    assert all(text in line for text in sizes)
    assert bool(few) == (len(split.unseen_users) < 20)


def assert_no_leak(split, items):
    """No response, and no group, on both sides: of all users, or of each."""
    for (users, kind), test in split.tests.items():
        base = {"seen": split.train, "unseen": split.shots}
        if kind == "new items":
            for prefs in base.values():
                assert not responses_of(test) & responses_of(prefs)
                assert split.group_by == "response" or not prompts_of(test) & prompts_of(prefs)
        else:
            for mine, tested, known in zip(own(base[users]), own(test), (0, 1), strict=True):
                assert not mine & tested or (known == 0 and split.group_by == "response")
    assert {kind for _, kind in split.tests} == set(items)


def test_prompts_without_common_responses_are_cut_as_prompts():
    # The automatic choice is then no other split than the one by prompts, to the pair.
    prefs = own_prompts(users=20, prompts=12)
    explicit = four_way(prefs, group_by="prompt", seed=3)
    assert four_way(prefs, seed=3).digest == explicit.digest
    assert summary(explicit)[0].startswith("groups: prompts; 18 of 20 users kept, with 216 pairs")


def test_linked_prompts_stay_together():
    # 60 prompts, two and two of which share a response: 30 groups and no cross-split pair.
    prompt = np.repeat(np.arange(60), 10)
    first, second = 100 + prompt, prompt // 2
    prefs = from_arrays(
        np.ones((160, 1), np.float32), first, second, np.arange(600) % 20, prompt=prompt
    )
    split = four_way(prefs, seed=0)
    assert split.dropped.cross_split == 0
    assert split.groups == "prompts (60, in 30 groups without a common response)"
    assert_no_leak(split, ("new items",))
    assert four_way(prefs, group_by="prompt", seed=0).dropped.cross_split > 0


@pytest.mark.parametrize(("shape", "items"), GROUPED_BY)
def test_folds_test_each_item_once_and_leave_each_user_out_once(shape, items):
    prefs, count = SHAPES[shape], 4
    splits = [four_way(prefs, items=(items,), fold=(k, count), seed=0) for k in range(count)]
    assert len({split.groups for split in splits}) == 1
    unseen = np.concatenate([split.unseen_users for split in splits])
    assert len(np.unique(unseen)) == len(unseen) >= 0.7 * prefs.num_users
    tested = [
        {part.row[i] for part in split.tests.values() for i in range(part.num_pairs)}
        for split in splits
    ]
    assert sum(map(len, tested)) == len(set().union(*tested))
    for split in splits:
        assert_no_leak(split, (items,))
    if items == "new items":
        responses = [set().union(*map(responses_of, split.tests.values())) for split in splits]
        assert sum(map(len, responses)) == len(set().union(*responses))


def test_folds_cover_everything_where_nothing_is_cut():
    prefs = own_prompts(users=20, prompts=60)
    splits = [four_way(prefs, fold=(k, 5), seed=1) for k in range(5)]
    rows = np.concatenate([part.row for split in splits for part in split.tests.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(1200))
    unseen = np.concatenate([split.unseen_users for split in splits])
    np.testing.assert_array_equal(np.sort(unseen), np.arange(20))


SINGLE = one_prompt(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: four_way(SINGLE, group_by="prompt", seed=0), "there are not 2 prompts"),
        (
            lambda: four_way(SINGLE, group_by="response", min_train=1000, seed=0),
            "0 of 10 users have 1000 training pairs",
        ),
        (
            lambda: four_way(SINGLE, group_by="response", items=("known items", "new"), seed=0),
            r"items is \('known items', 'new'\)",
        ),
        (
            lambda: four_way(SINGLE, group_by="response", unseen_users=2, seed=0),
            "unseen_users is 2: a share",
        ),
        (lambda: four_way(SINGLE, fold=(5, 5), seed=0), r"fold is \(5, 5\): \(k, count\) with"),
        (lambda: four_way(SINGLE, fold=(0, 5), items=BOTH, seed=0), "with two kinds of test: one"),
    ],
)
def test_what_cannot_be_split_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
