"""Controls: no user keeps the own weights, and permuted users keep their counts."""

import numpy as np
import pytest
from synthetic_results import preferences

from lore_jax.evaluation.controls import derangement, permute_users


@pytest.mark.parametrize("count", [2, 3, 10, 1001])
def test_a_derangement_has_no_fixed_point(count):
    for seed in range(20):
        swap = derangement(count, seed=seed)
        assert (swap != np.arange(count)).all()
        np.testing.assert_array_equal(np.sort(swap), np.arange(count))


def test_one_user_cannot_be_deranged():
    with pytest.raises(ValueError, match="1 users cannot be permuted without a fixed point"):
        derangement(1, seed=0)


def test_permuted_users_keep_their_counts_and_all_pairs():
    prefs = preferences(0, users=40)
    permuted = permute_users(prefs, seed=1)
    np.testing.assert_array_equal(permuted.pairs_per_user(), prefs.pairs_per_user())
    assert sorted(zip(permuted.chosen, permuted.rejected, strict=True)) == sorted(
        zip(prefs.chosen, prefs.rejected, strict=True)
    )
    assert (np.diff(permuted.user) >= 0).all()
    user_of_row = dict(zip(prefs.row.tolist(), prefs.user.tolist(), strict=True))
    same = np.mean(
        [
            user_of_row[row] == user
            for row, user in zip(permuted.row.tolist(), permuted.user, strict=True)
        ]
    )
    assert same < 0.15
