import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lore_jax.data.preferences import from_arrays, from_dataframe, group_by_user

TABLE = np.arange(20, dtype=np.float32).reshape(5, 4)
GOOD = {"embeddings": TABLE, "chosen": [0, 2, 4], "rejected": [1, 3, 0], "user": [1, 0, 1]}


def with_entry(value, row=2, column=3, dtype=np.float32):
    table = TABLE.astype(dtype)
    table[row, column] = value
    return table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": TABLE.tolist()}, "embeddings is a list: a NumPy or JAX array"),
        ({"embeddings": TABLE[0]}, r"embeddings has shape \(4,\): \[responses, dim\]"),
        ({"embeddings": TABLE[:0]}, r"embeddings has shape \(0, 4\)"),
        (
            {"embeddings": TABLE.astype(np.float64)},
            "embeddings has dtype float64: float16, bfloat16 or float32",
        ),
        ({"embeddings": TABLE.astype(np.int32)}, "embeddings has dtype int32"),
        ({"embeddings": with_entry(np.nan)}, "embeddings row 2 holds nan in column 3"),
        (
            {"embeddings": with_entry(-np.inf, dtype=np.float16)},
            "embeddings row 2 holds -inf in column 3",
        ),
        (
            {"embeddings": with_entry(np.nan, 4, 0, ml_dtypes.bfloat16)},
            "embeddings row 4 holds nan in column 0",
        ),
        ({"embeddings": jnp.asarray(with_entry(np.nan))}, "embeddings row 2 holds nan in column 3"),
        ({"chosen": [0, 2, 5]}, "chosen is 5 in pair 2, outside a table of 5 responses"),
        ({"rejected": [1, -1, 0]}, "rejected is -1 in pair 1, outside a table of 5 responses"),
        ({"chosen": [0, 3, 4]}, r"chosen equals rejected \(response 3\) in pair 1"),
        (
            {"chosen": [0.0, 2.0, 4.0]},
            r"chosen has dtype float64 and shape \(3,\): integers \[pairs\]",
        ),
        ({"chosen": [True, False, True]}, "chosen has dtype bool"),
        ({"chosen": [[0, 2, 4]]}, r"chosen has dtype int64 and shape \(1, 3\)"),
        ({"rejected": [1, 3]}, "rejected has 2 entries, chosen has 3"),
        ({"user": [1, 0]}, "user has 2 entries, chosen has 3"),
        ({"user": ["ann", "bob", "ann"]}, "user has dtype <U3"),
        ({"user": [1, -1, 1]}, "user is -1 in pair 1"),
        ({"num_users": 1}, "user is 1 in pair 0, outside 1 users"),
        ({"num_users": -1}, "num_users is -1: 0 or more"),
        ({"user_ids": ["ann"]}, "user is 1 in pair 0, outside 1 users"),
        ({"user_ids": ["ann", "bob", "cid"], "num_users": 2}, "user_ids has 3 names for 2 users"),
        ({"user_ids": ["ann", "ann"]}, "user_ids holds 'ann' 2 times"),
        ({"user_ids": [["ann", "bob"]]}, r"user_ids has shape \(1, 2\)"),
        ({"prompt": [0, 0]}, "prompt has 2 entries, chosen has 3"),
        ({"prompt": [0, 0, -1]}, "prompt is -1 in pair 2"),
        ({"prompt": [0, 2**31, 0]}, "prompt is 2147483648 in pair 1"),
        ({"prompt": [0.0, 1.0, 0.0]}, "prompt has dtype float64"),
        ({"weight": [1.0, 1.0]}, r"weight has shape \(2,\): \[3\]"),
        ({"weight": [1.0, np.nan, 1.0]}, "weight is nan in pair 1"),
        ({"weight": [1.0, 1.0, -0.5]}, "weight is -0.5 in pair 2"),
        ({"weight": [1.0, 1.0, np.inf]}, "weight is inf in pair 2"),
        ({"weight": ["a", "b", "c"]}, "weight has dtype <U1"),
        ({"head": np.ones(3)}, r"head has shape \(3,\): \[4\]"),
        ({"head": np.array([0, 0, np.nan, 0])}, "head holds nan in entry 2"),
    ],
)
def test_bad_arrays_are_refused_with_their_place(change, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(**(GOOD | change))


def test_the_place_of_a_bad_row_is_found_past_the_first_block():
    table = np.ones((70_000, 1), np.float32)
    table[69_999] = np.inf
    with pytest.raises(ValueError, match="embeddings row 69999 holds inf"):
        from_arrays(table, [0], [1], [0])


def test_large_but_finite_rows_are_accepted():
    # Their sums overflow, they do not.
    table = np.full((3, 4), 3e38, np.float32)
    assert from_arrays(table, [0], [1], [0]).num_responses == 3
    assert from_arrays(np.full((3, 4), 6e4, np.float16), [0], [1], [0]).dim == 4


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
    nobody = from_arrays(TABLE, [], [], [])
    assert nobody.num_users == 0
    assert list(group_by_user(nobody)) == []


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
        expected, found = (
            some.embeddings[getattr(some, side)],
            small.embeddings[getattr(small, side)],
        )
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(small.row, some.row)


def test_pairs_made_by_other_users():
    prefs = random_preferences(0)
    shuffled = np.random.default_rng(0).permutation(prefs.user)
    other = prefs.with_users(shuffled)
    assert (np.diff(other.user) >= 0).all()
    assert dict(zip(other.row, other.user, strict=True)) == dict(
        zip(prefs.row, shuffled, strict=True)
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
    found = {}
    shots = []
    for bucket in group_by_user(prefs):
        shots.append(bucket.shots)
        assert bucket.shots & (bucket.shots - 1) == 0
        for one, first, count in zip(bucket.users, bucket.first, bucket.count, strict=True):
            assert bucket.shots / 2 < count <= bucket.shots
            found[int(one)] = list(range(first, first + count))
    assert shots == sorted(set(shots))
    assert found == {
        one: np.flatnonzero(user == one).tolist() for one, count in enumerate(counts) if count
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
        ({"weight": [1.0, -1.0, 1.0]}, "weight is -1.0 in pair 1"),
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
