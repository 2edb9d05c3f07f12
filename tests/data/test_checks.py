"""Bad arrays are refused in one line that says where."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from lore_jax.data.checks import check_table, first_not_finite, random_key
from lore_jax.data.preferences import from_arrays

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
            {"embeddings": TABLE.astype(np.int64)},
            "embeddings has dtype int64: float16, bfloat16, float32 or float64",
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
        ({"pair_weight": [1.0, 1.0]}, r"pair_weight has shape \(2,\): \[3\]"),
        ({"pair_weight": [1.0, np.nan, 1.0]}, "pair_weight is nan in pair 1"),
        ({"pair_weight": [1.0, 1.0, -0.5]}, "pair_weight is -0.5 in pair 2"),
        ({"pair_weight": [1.0, 1.0, np.inf]}, "pair_weight is inf in pair 2"),
        ({"pair_weight": ["a", "b", "c"]}, "pair_weight has dtype <U1"),
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


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_the_first_entry_that_is_not_finite_is_found(dtype):
    rows = np.full((50, 7), 3e4, dtype)  # a sum of float16 rows overflows
    assert first_not_finite(rows) is None
    rows[40, 6] = rows[31, 5] = np.nan
    rows[31, 2] = np.inf
    assert first_not_finite(rows) == (31, 2)
    assert first_not_finite(jnp.asarray(rows)) == (31, 2)


def test_a_good_table_comes_back_as_it_is():
    assert check_table(TABLE) is TABLE


def test_float64_becomes_float32_if_it_fits():
    table = check_table(TABLE.astype(np.float64))
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, TABLE.astype(np.float32))
    with pytest.raises(ValueError, match="row 0 holds inf in column 0: not finite"):
        check_table(np.full((2, 2), 1e300))


def test_a_key_is_itself_and_a_seed_the_key_of_it():
    key = jax.random.key(3)
    assert random_key(key) is key
    for seed in (3, np.int32(3)):
        assert (jax.random.key_data(random_key(seed)) == jax.random.key_data(key)).all()


@pytest.mark.parametrize("wrong", ["three", 0.5, -1, 2**70, None])
def test_another_key_is_refused(wrong):
    with pytest.raises(ValueError, match=r"key is .*: a key of jax.random.key, or a whole number"):
        random_key(wrong)
