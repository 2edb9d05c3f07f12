"""The directions of departure against the eigenvectors of users' scores, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import differences, problem
from scipy.special import expit

from lore_jax.methods.gaussian.initial_directions import score_directions
from lore_jax.parallel.devices import over_shards, place
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.likelihood import LOGISTIC, Logistic

INPUT_SCALE = 3.0


def offsets_of(prefs):
    return np.random.default_rng(0).normal(size=prefs.num_responses).astype(np.float32)


def directions(prefs, count, devices=1, likelihood=LOGISTIC, mapping="jit"):
    """`[devices, dim, count]`."""
    data, _ = place(prefs, INPUT_SCALE, jax.devices()[:devices])

    def shard(_, data, offsets):
        return score_directions(data, offsets, jax.random.key(1), count, likelihood=likelihood)

    run = over_shards(shard, mapping, devices=jax.devices()[:devices])
    return np.asarray(run(jnp.zeros(devices), data, jnp.asarray(offsets_of(prefs))))


def scores(prefs, slope):
    """Each user's gradient of the log-likelihood in a personal direction, `[users, dim]`."""
    offsets = offsets_of(prefs).astype(np.float64)
    pull = -prefs.pair_weight * slope(offsets[prefs.chosen] - offsets[prefs.rejected])
    out = np.zeros((prefs.num_users, prefs.dim))
    np.add.at(out, prefs.user, differences(prefs) / INPUT_SCALE * pull[:, None])
    return out


@pytree
class Doubled(Logistic):
    """Choices with half the noise."""

    def slope(self, margin):
        return 2.0 * Logistic.slope(self, 2.0 * margin)


@pytest.mark.parametrize(
    ("likelihood", "slope"),
    [(LOGISTIC, lambda z: -expit(-z)), (Doubled(), lambda z: -2 * expit(-2 * z))],
    ids=["logistic", "another"],
)
def test_they_span_the_leading_eigenvectors_of_the_scores(likelihood, slope):
    prefs, count = problem(), 2
    (leading,) = directions(prefs, count, likelihood=likelihood)
    np.testing.assert_allclose(leading.T @ leading, np.eye(count), atol=1e-5)
    by_user = scores(prefs, slope)
    values = np.linalg.eigvalsh(by_user.T @ by_user)
    # Up to what four rounds of subspace iteration leave.
    assert np.sum((by_user @ leading) ** 2) > 0.97 * values[-count:].sum()
    (everything,) = directions(prefs, prefs.dim, likelihood=likelihood)
    assert np.sum((by_user @ everything[:, 0]) ** 2) > 0.9 * values[-1]  # the strongest first


@pytest.mark.parametrize("mapping", ["jit", "pmap"])
def test_eight_devices_are_one(mapping):
    prefs = problem()
    one, eight = directions(prefs, 2), directions(prefs, 2, 8, mapping=mapping)
    np.testing.assert_allclose(eight, np.broadcast_to(one, eight.shape), atol=1e-3)
