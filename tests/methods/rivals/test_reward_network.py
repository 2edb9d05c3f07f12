"""Rewards against NumPy, first layer and rest apart and together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trained_networks import perturbed, some_table

from lore_jax.methods.rivals.reward_network import FirstLayer, RewardNetwork


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_equals_the_formula(scale):
    table, user = some_table(), jnp.array([0.5, -1.0])
    network = RewardNetwork(5)
    params = perturbed(network.init(jax.random.key(0), table, scale, user)["params"])
    params, table, user = jax.tree.map(np.asarray, (params, table, user))
    first = table @ params["response"]["kernel"].T * 6**0.5 / scale
    hidden = first + user @ params["user"]["kernel"] + params["user"]["bias"]
    expected = np.where(hidden > 0, hidden, 0.01 * hidden) @ params["reward"]["kernel"]
    variables = {"params": params}
    table, user = jnp.asarray(table), jnp.asarray(user)
    np.testing.assert_allclose(
        network.apply(variables, table, scale, user), expected[:, 0], atol=1e-5
    )
    rows = network.apply(variables, table, scale, method="rows")
    np.testing.assert_allclose(rows, first, atol=1e-5)
    some = network.apply(variables, rows[2:4], user, method="rewards")
    np.testing.assert_allclose(some, expected[2:4, 0], atol=1e-5)


def test_the_first_layer_starts_at_unit_scale_and_reads_bfloat16():
    table = np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32)
    layer = FirstLayer(32)
    variables = layer.init(jax.random.key(0), table, 8.0)
    rows = layer.apply(variables, jnp.asarray(table), 8.0)
    np.testing.assert_allclose(np.std(rows), 1.0, atol=0.1)
    short = layer.apply(variables, jnp.asarray(table, jnp.bfloat16), 8.0)
    assert short.dtype == jnp.float32
    np.testing.assert_allclose(short, rows, atol=0.1)
