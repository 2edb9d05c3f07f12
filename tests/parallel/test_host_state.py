"""A state without its devices: shared leaves once, users in order, and back onto any."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import problem, shard_copies

from lore_jax.parallel.buckets import PerUser, lay_out
from lore_jax.parallel.devices import split
from lore_jax.parallel.host_state import onto_devices, without_devices


def state_on(prefs, shards, weights, moments, shared):
    """A state with values of users deep inside, laid out over so many devices."""
    devices = jax.devices()[:shards]
    _, layout = lay_out(prefs, shards)

    def spread(values):
        return jax.tree.map(lambda leaf: split(leaf, devices), layout.spread(values))

    copies = shard_copies({"V": shared, "count": np.int32(7)}, devices)
    state = {"params": copies, "users": (spread(weights), [spread(moments)]), "none": ()}
    return state, layout


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_a_state_without_devices_comes_back_to_any(shards):
    prefs, rng = problem(), np.random.default_rng(0)
    weights = rng.normal(size=(prefs.num_users, 2)).astype(np.float32)
    moments = rng.integers(9, size=prefs.num_users)
    shared = rng.normal(size=(4, 2)).astype(np.float32)
    without_pairs = prefs.pairs_per_user() == 0
    weights[without_pairs], moments[without_pairs] = 0.0, 0  # they live nowhere
    state, layout = state_on(prefs, shards, weights, moments, shared)
    kept = without_devices(state, layout)
    np.testing.assert_array_equal(kept["params"]["V"], shared)
    assert kept["params"]["count"].shape == ()
    assert kept["params"]["count"] == 7
    np.testing.assert_array_equal(kept["users"][0], weights)
    np.testing.assert_array_equal(kept["users"][1][0], moments)
    assert all(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(kept))

    for others in (shards, 4):
        like, other_layout = state_on(prefs, others, 0 * weights, 0 * moments, 0 * shared)
        expected, _ = state_on(prefs, others, weights, moments, shared)
        again = onto_devices(kept, like, other_layout)
        assert jax.tree.structure(again) == jax.tree.structure(like)
        leaves = map(jax.tree.leaves, (again, expected, like))
        for leaf, value, where in zip(*leaves, strict=True):
            np.testing.assert_array_equal(leaf, value)
            assert leaf.sharding == where.sharding
            assert leaf.dtype == where.dtype


def test_values_of_users_are_known_by_their_type_and_not_by_their_shape():
    prefs = problem()
    _, layout = lay_out(prefs, 1)
    buckets = tuple(jnp.ones((1, 3, ids.shape[1])) for ids in layout.ids)
    kept = without_devices({"shared": buckets, "users": PerUser(buckets)}, layout)
    assert [leaf.shape for leaf in kept["shared"]] == [leaf.shape[1:] for leaf in buckets]
    assert kept["users"].shape == (prefs.num_users, 3)
