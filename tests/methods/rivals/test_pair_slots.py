"""Slots against a loop over users."""

import numpy as np
from joint_fit import problem

from lore_jax.methods.rivals.pair_slots import pair_slots


def test_slots_are_those_of_a_loop():
    prefs = problem()
    users = np.array([3, 0, -1, prefs.num_users - 1])
    found = pair_slots(prefs, users, 64)
    assert found.shape == (4, 64)
    for user, row in zip(users, found, strict=True):
        np.testing.assert_array_equal(row[row >= 0], np.flatnonzero(prefs.user == user))
