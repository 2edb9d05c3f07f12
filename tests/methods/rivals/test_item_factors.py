"""Where factors start: along users' departures in the space of responses, half a logit each."""

import jax
import jax.numpy as jnp
import numpy as np
from joint_fit import problem

from lore_jax.methods.gaussian.laplace_em import PopulationHyper
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.rivals.item_factors import blank, with_factors
from lore_jax.parallel.devices import over_shards, place

HYPER = PopulationHyper(jnp.float32(1.0), jnp.float32(1.0), jnp.ones(2), jnp.ones(2))


def test_factors_are_orthogonal_and_half_a_logit():
    prefs, method = problem(), PopulationConfig(num_components=0, logit_scale=1.0)
    data, _ = place(prefs, 1.0)

    def run(_, data, hyper):
        key = jax.random.key(0)
        state = method.init(blank(data), hyper, key=key)
        return state.params, with_factors(state, data, key).params

    found = over_shards(run, donate=False)(jnp.zeros(1), data, HYPER)
    before, after = jax.tree.map(lambda leaf: np.asarray(leaf[0]), found)
    effects = after["item_effects"]
    np.testing.assert_array_equal(effects[:, 0], before["item_effects"][:, 0])
    kept = prefs.pair_weight > 0
    judged = np.unique([prefs.chosen[kept], prefs.rejected[kept]])
    gram = effects[:, 1:].T @ effects[:, 1:]
    np.testing.assert_allclose(gram, 0.25 * len(judged) * np.eye(2), atol=1e-2)
    outside = np.setdiff1d(np.arange(len(effects)), judged)
    np.testing.assert_allclose(effects[outside], 0.0, atol=1e-6)
    assert not any(leaf.any() for leaf in jax.tree.leaves(after["basis"]))
