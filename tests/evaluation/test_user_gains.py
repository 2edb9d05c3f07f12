"""Gains of users: the rows' own values, averaged over the splits in which a user is tested."""

import numpy as np
import pytest
from synthetic_results import toy_results

from lore_jax.evaluation.results import Where, per_user, select
from lore_jax.evaluation.user_gains import user_gains

WHERE = Where("unseen", "new items", "m", shots=20)


def test_every_user_once_with_the_mean_over_splits():
    results = toy_results(0.1, 0, users=20)
    gains = user_gains(results, WHERE)
    sums = {}
    for split, entry in enumerate(results["splits"]):
        for shots in (0, 20):
            (row,) = (
                row
                for row in select(results, Where(control=None, shots=shots))
                if row["split"] == split
            )
            for user, value in zip(
                entry["users"]["unseen"], per_user(row, "accuracy"), strict=True
            ):
                sums.setdefault(f"user {user}", {0: [], 20: []})[shots].append(value)
    assert len(gains) == len(sums)
    for user in gains:
        assert user.before == pytest.approx(np.mean(sums[user.name][0]))
        assert user.after == pytest.approx(np.mean(sums[user.name][20]))
    assert [user.gain for user in gains] == sorted(user.gain for user in gains)


def test_users_without_test_pairs_are_left_out_and_names_are_kept():
    results = toy_results(0.1, 0, users=3, splits=1)
    results["splits"][0]["users"]["unseen"] = ["ann", "bob", "cy"]
    for row in results["rows"]:
        row["per_user"]["accuracy"][1] = None
    assert {user.name for user in user_gains(results, WHERE)} == {"ann", "cy"}
