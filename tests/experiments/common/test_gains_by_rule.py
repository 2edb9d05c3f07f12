"""Gains of rules against means written out in NumPy."""

import json

import numpy as np
import pytest

from experiments.common.gains_by_rule import gain, gain_of, gains_table
from lore_jax.data.preferences import from_arrays

USER = np.array([0, 0, 0, 1, 1, 3])  # user 2 has no pair
ROWS = np.arange(6)


def part(data, values, split=0):
    test = from_arrays(np.eye(12, dtype=np.float32), ROWS, ROWS + 6, USER, num_users=4)
    gains = {"rule": [gain_of(test, split, values)]}
    return {
        "data": data,
        "test": "new items",
        "voters": [f"{data} {user}" for user in range(4)],
        "gains": json.loads(json.dumps(gains)),
    }


def test_data_sets_splits_and_users_count_alike():
    first, second = np.array([3.0, 0.0, 0.0, 5.0, 7.0, 1.0]), np.full(6, 2.0)
    parts = [part("one", first), part("one", second, split=1), part("two", 0.5 * first)]
    of_first = (3.0 / 3 + 12.0 / 2 + 1.0) / 3
    found = gain(parts, "rule", 0)
    assert found.mean == pytest.approx(((of_first + 2.0) / 2 + of_first / 2) / 2)
    assert found.about_items
    assert gain(parts[:1], "rule", 0).mean == pytest.approx(of_first)
    # Every pair has responses of its own: what differs between items is what differs in cells.
    users = (np.array([1.0, 6.0, 1.0]) - of_first) / 3
    assert gain(parts[:1], "rule", 0).variance == pytest.approx(np.sum(users**2) * 3 / 2, rel=0.6)


def test_every_data_set_has_a_row():
    table = gains_table([part("one", np.ones(6)), part("two", np.zeros(6))], ["rule"], [5])
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == ["one, 5", "two, 5", "all, 5"]
    assert "+1.000" in rows[1]
    assert "+0.500" in rows[3]
