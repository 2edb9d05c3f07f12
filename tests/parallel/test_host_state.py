"""The state of a fit without its devices, and back on any number of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.parallel.buckets import lay_out
from lore_jax.parallel.host_state import onto_devices, without_devices


@pytest.mark.parametrize("shards", [1, 3])
def test_a_state_without_devices_comes_back_to_them(shards):
    rng = np.random.default_rng(0)
    config = SyntheticConfig(num_users=11, num_prompts=30, pairs_per_user=(1, 20), dim=4, rank=2)
    layout = lay_out(synthetic(config, seed=0).prefs, shards)[1]
    weights, moments = rng.normal(size=(2, 11, 2)).astype(np.float32)
    shared = rng.normal(size=(4, 2)).astype(np.float32)
    state = {
        "params": {"V": jnp.asarray(np.tile(shared, (shards, 1, 1)))},
        "users": (jax.tree.map(jnp.asarray, layout.spread(weights)), (jnp.zeros((shards,)),)),
        "moments": jax.tree.map(jnp.asarray, layout.spread(moments)),
    }
    kept = without_devices(state, layout)
    np.testing.assert_array_equal(kept["params"]["V"], shared)
    np.testing.assert_array_equal(kept["users"][0], weights)
    np.testing.assert_array_equal(kept["moments"], moments)
    assert kept["users"][1][0].shape == ()
    again = onto_devices(kept, state, layout)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(one, other)
