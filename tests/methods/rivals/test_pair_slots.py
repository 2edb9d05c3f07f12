"""Slots against a loop over users."""

import numpy as np
from joint_fit import problem

from lore_jax.methods.rivals.pair_slots import padded_pairs, pair_slots, rounded_slots


def test_slots_are_those_of_a_loop():
    prefs = problem()
    users = np.array([3, 0, -1, prefs.num_users - 1])
    found = pair_slots(prefs, users, 64)
    assert found.shape == (4, 64)
    for user, row in zip(users, found, strict=True):
        np.testing.assert_array_equal(row[row >= 0], np.flatnonzero(prefs.user == user))


def test_padding_weighs_nothing():
    prefs = problem()
    users = np.array([3, 0, -1, prefs.num_users - 1])
    pairs, index = padded_pairs(prefs, users, 64)
    np.testing.assert_array_equal(index, pair_slots(prefs, users, 64))
    for name in ("chosen", "rejected"):
        own = getattr(prefs, name)
        np.testing.assert_array_equal(getattr(pairs, name)[index >= 0], own[index[index >= 0]])
    np.testing.assert_array_equal(pairs.weight[index < 0], 0.0)
    nobody, index = padded_pairs(prefs.take_pairs(np.zeros(0, np.int64)), users, 2)
    assert not nobody.weight.any()
    assert (index == -1).all()


def test_slots_are_powers_of_two():
    prefs = problem()
    users = np.arange(prefs.num_users)
    assert rounded_slots(prefs, users) == max(
        32, 2 ** int(np.ceil(np.log2(prefs.pairs_per_user().max())))
    )
    assert rounded_slots(prefs, users[3:4]) == 32
