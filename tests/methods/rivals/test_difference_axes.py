"""The directions against the eigenvectors of explicit differences."""

import jax
import numpy as np
import pytest
from joint_fit import differences, problem

from lore_jax.methods.rivals.difference_axes import principal_directions
from lore_jax.parallel.devices import over_shards, place


def directions_of(prefs, count, devices):
    data, _ = place(prefs, 1.0, jax.devices()[:devices])
    program = over_shards(
        lambda _, data, key: principal_directions(data, count, key=jax.random.wrap_key_data(key)),
        devices=jax.devices()[:devices],
    )
    key = np.asarray(jax.random.key_data(jax.random.key(0)))
    return np.asarray(program(jax.numpy.zeros(devices), data, key))


@pytest.mark.parametrize("devices", [1, 8])
def test_directions_are_the_eigenvectors_of_the_second_moment(devices):
    prefs = problem(dim=6)
    x = differences(prefs)
    values, vectors = np.linalg.eigh((prefs.pair_weight[:, None] * x).T @ x)
    assert np.all(np.diff(values) > 0.02 * values[-1])
    expected = vectors[:, ::-1][:, :3]
    for shard in directions_of(prefs, 3, devices):
        np.testing.assert_allclose(np.abs(shard.T @ expected), np.eye(3), atol=1e-3)
