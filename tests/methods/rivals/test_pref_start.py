"""The start against a dense SVD and a dense regression."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shared_pairs import shared_pairs

from lore_jax.methods.rivals.pref_start import start_factors
from lore_jax.parallel.devices import over_shards, place


def key_data(seed=0):
    return np.asarray(jax.random.key_data(jax.random.key(seed)))


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
    prefs = shared_pairs()
    data, layout = place(prefs, 1.0, jax.devices()[:devices])
    program = over_shards(
        lambda _, data, key: start_factors(data, 2, key=jax.random.wrap_key_data(key)),
        devices=jax.devices()[:devices],
    )
    found = jax.tree.map(np.asarray, program(jnp.zeros(devices), data, key_data()))
    users = layout.collect(found.users, np.zeros(2))
    expected, phi = dense_start(prefs, 2)
    np.testing.assert_allclose(users @ users.T, expected @ expected.T, atol=0.02)
    for shard in found.phi:
        np.testing.assert_allclose(users @ shard.T, expected @ phi.T, atol=0.05)
