"""The start against a dense SVD, a step against a transcription, and the population it assumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rival_populations
from joint_fit import differences, problem

from lore_jax.data.preferences import from_arrays
from lore_jax.methods.rivals.pref import Factors, PReFConfig, num_shared_pairs, start_factors
from lore_jax.parallel.buckets import PerUser
from lore_jax.parallel.devices import over_shards, place

HYPER = jnp.ones(2)


def key_data(seed=0):
    return np.asarray(jax.random.key_data(jax.random.key(seed)))


def shared(seed=0, users=20, responses=8, dim=4, pairs=18):
    """Distinct pairs of few responses, judged by many; user 3 has none."""
    rng = np.random.default_rng(seed)
    every = np.array([(i, j) for i in range(responses) for j in range(i)])
    rows = np.concatenate([rng.permutation(every)[:pairs] for user in range(users) if user != 3])
    user = np.repeat([user for user in range(users) if user != 3], pairs)
    table = rng.normal(size=(responses, dim)).astype(np.float32)
    taste = np.where(user % 2, 1.0, -1.0) * (table[rows[:, 0]] - table[rows[:, 1]])[:, 0] * 3
    wins = rng.random(len(user)) < 1.0 / (1.0 + np.exp(-taste))
    chosen, rejected = np.where(wins, rows.T, rows.T[::-1])
    return from_arrays(table, chosen, rejected, user, num_users=users)


def dense_start(prefs, count):
    """User factors and Phi from the matrix itself."""
    low, high = np.minimum(prefs.chosen, prefs.rejected), np.maximum(prefs.chosen, prefs.rejected)
    pairs, index = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    index = index.ravel()
    matrix = np.zeros((prefs.num_users, pairs.shape[1]))
    matrix[prefs.user, index] = np.where(prefs.chosen == low, 1.0, -1.0)
    users = np.sqrt((prefs.pairs_per_user() > 0).sum()) * np.linalg.svd(matrix)[0][:, :count]
    factors = 2.0 * matrix.T @ users * pairs.shape[1] / prefs.num_pairs
    x = np.asarray(prefs.embeddings, np.float64)
    x = x[pairs[0]] - x[pairs[1]]
    ridge = pairs.shape[1] / prefs.dim
    return users, np.linalg.solve(x.T @ x + ridge * np.eye(prefs.dim), x.T @ factors)


@pytest.mark.parametrize("devices", [1, 8])
def test_the_start_is_the_truncated_svd_and_its_regression(devices):
    prefs = shared()
    data, layout = place(prefs, 1.0, jax.devices()[:devices])
    program = over_shards(
        lambda _, data, key: start_factors(data, 2, key=jax.random.wrap_key_data(key))
    )
    found = jax.tree.map(np.asarray, program(jnp.zeros(devices), data, key_data()))
    users = layout.collect(found.users, np.zeros(2))
    expected, phi = dense_start(prefs, 2)
    np.testing.assert_allclose(users @ users.T, expected @ expected.T, atol=0.02)
    for shard in found.phi:
        np.testing.assert_allclose(users @ shard.T, expected @ phi.T, atol=0.05)


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


def test_it_predicts_users_whose_pairs_are_shared():
    pairs = rival_populations.taste_along_axes(responses=24, dim=8, strong=2, users=90)
    assert num_shared_pairs(pairs.train) > 50
    method = PReFConfig(rank=2, beta=1.0, steps=100)
    assert rival_populations.gain(method, pairs) > 3.0


def test_steps_and_beta_are_chosen_of_one_fit():
    method = PReFConfig(rank=2)
    assert len(method.variants()) == 9
    assert method.num_steps([]) == max(variant["steps"] for variant in method.variants())
    predictor = rival_populations.fitted(
        method, rival_populations.Population(shared(), *[None] * 2)
    )
    assert predictor.model.rank == 2
    assert np.isfinite(predictor.users.weights).all()


def test_what_is_refused():
    prefs = from_arrays(np.eye(4, dtype=np.float32), [0, 1, 2], [1, 2, 3], [0, 1, 1])
    assert num_shared_pairs(prefs) == 0
    with pytest.raises(ValueError, match="no pair of responses was judged by two users"):
        PReFConfig().stages(prefs)
    with pytest.raises(ValueError, match="rank is 0: 1 or more"):
        PReFConfig(rank=0)
    with pytest.raises(ValueError, match="beta is -1: a positive number"):
        PReFConfig(beta=-1)
