"""A step of the descent against a transcription."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import differences, problem

from lore_jax.methods.rivals.pref import PReFConfig
from lore_jax.methods.rivals.pref_start import Factors
from lore_jax.parallel.buckets import PerUser
from lore_jax.parallel.devices import over_shards, place

HYPER = jnp.ones(2)


def transcribed(prefs, phi, users):
    """The objective, and its gradient with respect to Phi and the users' vectors."""
    x, weight, user = differences(prefs), prefs.pair_weight, prefs.user
    judged = np.bincount(user, weight, prefs.num_users) > 0
    margin = np.sum(users[user] * (x @ phi), axis=1)
    loss = weight @ np.logaddexp(0.0, -margin) / weight.sum()
    penalty = 0.02 * np.sum(users[judged] ** 2) / judged.sum()
    pull = -weight / (1.0 + np.exp(margin)) / weight.sum()
    of_users = np.zeros_like(users)
    np.add.at(of_users, user, pull[:, None] * (x @ phi))
    of_users += 0.04 * judged[:, None] * users / judged.sum()
    return loss + penalty, x.T @ (pull[:, None] * users[user]), of_users


def test_a_step_is_adams_along_the_transcribed_gradient():
    prefs, method, rng = problem(), PReFConfig(rank=2, learning_rate=0.01), np.random.default_rng(0)
    data, layout = place(prefs, 1.0)
    phi = rng.normal(size=(prefs.dim, 2)).astype(np.float32)
    users = rng.normal(size=(prefs.num_users, 2)).astype(np.float32)

    def step(own, data, hyper):
        state = method.init(data, hyper, key=jax.random.key(0))
        given = Factors(jnp.asarray(phi), own)
        return method.step(state.replace(factors=given), data, hyper)

    own = PerUser(tuple(map(jnp.asarray, layout.spread(users).buckets)))
    state, info = over_shards(step, donate=False)(own, data, HYPER)
    loss, of_phi, of_users = transcribed(prefs, phi, users)
    assert float(info.loss[0]) == pytest.approx(loss, rel=1e-5)
    assert np.abs(of_phi).min() > 1e-6  # Adam's first step is the sign of the gradient
    np.testing.assert_allclose(state.factors.phi[0], phi - 0.01 * np.sign(of_phi), atol=1e-4)
    moved = layout.collect(jax.tree.map(np.asarray, state.factors.users), np.zeros(2))
    judged = np.bincount(prefs.user, prefs.pair_weight, prefs.num_users) > 0
    expected = users - 0.01 * np.sign(of_users)
    np.testing.assert_allclose(moved[judged], expected[judged], atol=1e-4)
