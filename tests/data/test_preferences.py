"""Preferences: their order, parts of them, and how they are made of arrays and data frames."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lore_jax.data.preferences import from_arrays, from_dataframe, group_by_user

TABLE = np.arange(20, dtype=np.float32).reshape(5, 4)
GOOD = {"embeddings": TABLE, "chosen": [0, 2, 4], "rejected": [1, 3, 0], "user": [1, 0, 1]}


def test_pairs_are_sorted_by_user_and_know_where_they_came_from():
    prefs = from_arrays(
        **GOOD,
        prompt=[7, 8, 9],
        pair_weight=[0.1, 0.2, 0.3],
        user_ids=["ann", "bob"],
        head=np.ones(4),
    )
    assert prefs.user.tolist() == [0, 1, 1]
    assert prefs.row.tolist() == [1, 0, 2]
    assert prefs.chosen.tolist() == [2, 0, 4]
    assert prefs.rejected.tolist() == [3, 1, 0]
    assert prefs.prompt.tolist() == [8, 7, 9]
    np.testing.assert_allclose(prefs.pair_weight, [0.2, 0.1, 0.3])
    assert (prefs.num_users, prefs.num_pairs, prefs.num_responses, prefs.dim) == (2, 3, 5, 4)
    assert all(
        getattr(prefs, name).dtype == np.int32 for name in ("chosen", "rejected", "user", "prompt")
    )
    assert prefs.embeddings is TABLE  # never copied


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_any_integers(dtype):
    prefs = from_arrays(
        TABLE, *(np.array(GOOD[name], dtype) for name in ("chosen", "rejected", "user"))
    )
    assert prefs.num_users == 2
    assert prefs.chosen.tolist() == [2, 0, 4]


def test_users_without_pairs_and_no_pairs_at_all():
    assert from_arrays(**GOOD, num_users=4).pairs_per_user().tolist() == [1, 2, 0, 0]
    nothing = from_arrays(TABLE, [], [], [], num_users=3)
    assert (nothing.num_users, nothing.num_pairs) == (3, 0)
    assert list(group_by_user(nothing)) == []
    no_users = from_arrays(TABLE, [], [], [])
    assert no_users.num_users == 0
    assert list(group_by_user(no_users)) == []


def random_preferences(seed, users=12, pairs=80):
    rng = np.random.default_rng(seed)
    chosen = rng.integers(30, size=pairs)
    return from_arrays(
        np.ones((30, 2), np.float32),
        chosen,
        (chosen + rng.integers(1, 30, size=pairs)) % 30,
        rng.choice(users, pairs, p=rng.dirichlet(np.ones(users) * 0.3)),
        prompt=rng.integers(9, size=pairs),
        pair_weight=rng.random(pairs),
        num_users=users,
        user_ids=[f"user {i}" for i in range(users)],
    )


def rows(prefs):
    """Each pair as a tuple, its user by name."""
    columns = (prefs.row, prefs.chosen, prefs.rejected, prefs.prompt, prefs.pair_weight)
    return {
        (*(column[i].item() for column in columns), str(prefs.user_ids[prefs.user[i]]))
        for i in range(prefs.num_pairs)
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_taking_pairs_and_users(seed):
    prefs = random_preferences(seed)
    rng = np.random.default_rng(seed)
    keep = rng.random(prefs.num_pairs) < 0.4
    masked = prefs.take_pairs(keep)
    assert rows(masked) == {row for row, kept in zip(sorted_rows(prefs), keep, strict=True) if kept}
    numbers = rng.permutation(np.flatnonzero(keep))
    np.testing.assert_array_equal(prefs.take_pairs(numbers).row, masked.row)
    assert (np.diff(masked.user) >= 0).all()
    assert masked.num_users == prefs.num_users
    users = rng.permutation(prefs.num_users)[:5]
    taken = prefs.take_users(users)
    assert taken.user_ids.tolist() == [f"user {i}" for i in users]
    assert (np.diff(taken.user) >= 0).all()
    assert rows(taken) == {row for row in rows(prefs) if row[-1] in taken.user_ids}
    np.testing.assert_array_equal(taken.pairs_per_user(), prefs.pairs_per_user()[users])


def sorted_rows(prefs):
    return [next(iter(rows(prefs.take_pairs(np.array([i]))))) for i in range(prefs.num_pairs)]


def test_a_table_of_the_responses_in_use_alone():
    prefs = random_preferences(3)
    some = prefs.take_pairs(np.arange(0, prefs.num_pairs, 3))
    small = some.take_responses()
    assert (
        small.num_responses
        == len({*some.chosen.tolist(), *some.rejected.tolist()})
        < some.num_responses
    )
    for side in ("chosen", "rejected"):
        expected = some.embeddings[getattr(some, side)]
        np.testing.assert_array_equal(small.embeddings[getattr(small, side)], expected)
    np.testing.assert_array_equal(small.row, some.row)


def test_pairs_made_by_other_users():
    prefs = random_preferences(0)
    permuted = np.random.default_rng(0).permutation(prefs.user)
    other = prefs.with_users(permuted)
    assert (np.diff(other.user) >= 0).all()
    assert dict(zip(other.row, other.user, strict=True)) == dict(
        zip(prefs.row, permuted, strict=True)
    )
    np.testing.assert_array_equal(other.pairs_per_user(), prefs.pairs_per_user())


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(
        st.sampled_from([0, 0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 64, 65]), min_size=1, max_size=20
    )
)
def test_buckets_against_brute_force(counts):
    user = np.repeat(np.arange(len(counts)), counts)
    table = np.ones((2, 1), np.float32)
    prefs = from_arrays(
        table, np.zeros(len(user), int), np.ones(len(user), int), user, num_users=len(counts)
    )
    pairs_of = {}
    shots = []
    for bucket in group_by_user(prefs):
        shots.append(bucket.shots)
        assert bucket.shots & (bucket.shots - 1) == 0
        for owner, first, count in zip(bucket.users, bucket.first, bucket.count, strict=True):
            assert bucket.shots / 2 < count <= bucket.shots
            pairs_of[int(owner)] = list(range(first, first + count))
    assert shots == sorted(set(shots))
    assert pairs_of == {
        owner: np.flatnonzero(user == owner).tolist() for owner, count in enumerate(counts) if count
    }


def test_from_dataframe():
    frame = pd.DataFrame(
        {
            "user_id": ["bob", "ann", "bob"],
            "chosen": [0, 2, 4],
            "rejected": [1, 3, 0],
            "prompt_id": ["x", "y", "x"],
            "weight": [1.0, 2.0, 3.0],
        }
    )
    prefs = from_dataframe(frame, TABLE, head=np.ones(4))
    assert prefs.user_ids.tolist() == ["ann", "bob"]
    assert prefs.row.tolist() == [1, 0, 2]
    assert prefs.prompt.tolist() == [1, 0, 0]
    assert prefs.pair_weight.tolist() == [2.0, 1.0, 3.0]
    other = from_dataframe(
        frame.rename(columns={"user_id": "who"})[["who", "chosen", "rejected"]], TABLE, user="who"
    )
    assert set(other.prompt) == {0}
    assert other.pair_weight.tolist() == [1.0] * 3


def test_users_of_a_dataframe_may_be_numbers_or_categories():
    frame = pd.DataFrame(
        {"user_id": [12, 7, 12], "chosen": [0, 2, 4], "rejected": [1, 3, 0]}, index=[5, 5, 9]
    )
    assert from_dataframe(frame, TABLE).user_ids.tolist() == ["12", "7"]
    frame["user_id"] = pd.Categorical(["b", "a", "b"], categories=["b", "a", "unused"])
    assert from_dataframe(frame, TABLE).user_ids.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"chosen": None},
            r"column 'chosen' is missing; the columns found are \['user_id', 'rejected'\]",
        ),
        ({"user_id": ["a", None, "b"]}, "column 'user_id' is null in row 1"),
        ({"prompt_id": ["a", "b", float("nan")]}, "column 'prompt_id' is null in row 2"),
        ({"rejected": [1, 3, 9]}, "rejected is 9 in pair 2"),
        ({"chosen": [1.0, 2.0, float("nan")]}, "chosen has dtype float64"),
        ({"weight": [1.0, -1.0, 1.0]}, "pair_weight is -1.0 in pair 1"),
    ],
)
def test_bad_dataframes_are_refused(change, message):
    columns = {
        "user_id": ["bob", "ann", "bob"],
        "chosen": [0, 2, 4],
        "rejected": [1, 3, 0],
    } | change
    frame = pd.DataFrame({name: values for name, values in columns.items() if values is not None})
    with pytest.raises(ValueError, match=message):
        from_dataframe(frame, TABLE)


def test_sums_per_user_count_everybody():
    rng = np.random.default_rng(0)
    user, weight = rng.choice([1, 2, 5], 40), rng.random(40).astype(np.float32)
    prefs = from_arrays(
        np.eye(3, dtype=np.float32),
        np.zeros(40, int),
        np.ones(40, int),
        user,
        pair_weight=weight,
        num_users=7,
    )
    np.testing.assert_array_equal(prefs.pairs_per_user(), np.bincount(user, minlength=7))
    np.testing.assert_allclose(prefs.weight_per_user(), np.bincount(user, weight, 7), rtol=1e-6)
    none = prefs.take_pairs(np.zeros(40, bool))
    assert none.pairs_per_user().tolist() == none.weight_per_user().tolist() == [0] * 7


def test_the_repr_is_one_line_of_sizes():
    rng = np.random.default_rng(0)
    prefs = from_arrays(
        np.ones((12_800, 8), np.float32),
        np.arange(9_000),
        np.arange(1, 9_001),
        rng.permutation(np.arange(9_000) % 500),
        prompt=np.arange(9_000) % 1_200,
    )
    assert repr(prefs) == (
        "Preferences(9,000 pairs, 500 users, 1,200 prompts, 12,800 responses, dim 8, float32)"
    )
    assert repr(prefs.take_pairs(np.array([], int))) == (
        "Preferences(0 pairs, 500 users, 0 prompts, 12,800 responses, dim 8, float32)"
    )
