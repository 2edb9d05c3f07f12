"""EM of mixtures against NumPy, what splitting keeps, true components found, any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from joint_fit import problem
from scipy.special import expit, logsumexp

from lore_jax.methods.gaussian import mixture_em as module
from lore_jax.methods.gaussian.mixture_em import learn_mixture
from lore_jax.parallel.buckets import features
from lore_jax.parallel.devices import over_shards, place
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.solvers.mixture import Mixture, component_step, one_component

K = 2
TABLE = np.random.default_rng(1).normal(size=(40, K + 1)).astype(np.float32)


def on_shards(function, prefs, devices=1):
    """Runs `function(differences, weights)` on every shard; what the first one returns."""
    data, _ = place(prefs, 1.0, jax.devices()[:devices])

    def shard(state, data, table):
        return function(
            [features(table, bucket) for bucket in data.buckets],
            [b.pair_weight for b in data.buckets],
        )

    program = over_shards(shard, donate=False, devices=jax.devices()[:devices])
    out = program(jnp.zeros(devices), data, jnp.asarray(TABLE))
    return jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float64), out)


def start():
    spread = np.array([[[0.9, 0.0], [0.2, 0.7]], [[0.5, 0.0], [-0.1, 1.1]]])
    return Mixture(
        *(
            jnp.asarray(x, jnp.float32)
            for x in (np.log([0.3, 0.7]), [[1.0, 0.5], [-0.5, 0.2]], spread)
        )
    )


def one_step(differences, weights):
    """An M step from converged modes."""
    mixture = start()

    def mode_of(f, weight, component, mode):
        return component_step(f[1:], f[0], weight, mixture, component, mode).deviation

    def closer(_, modes):
        return [
            jnp.stack([mode_of(f, weight, c, mode[c]) for c in range(2)])
            for f, weight, mode in zip(differences, weights, modes, strict=True)
        ]

    zeros = [jnp.zeros((2, K, f.shape[-1])) for f in differences]
    modes = jax.lax.fori_loop(0, 8, closer, zeros)
    return module._em_step(mixture, tuple(modes), differences, weights, LOGISTIC)[0]


def expected_step(prefs):
    """The formulas of `mixture_em`, user by user and component by component."""
    mixture = start()
    log_share, centre, spread = (np.asarray(part, np.float64) for part in jax.tree.leaves(mixture))
    difference = TABLE.astype(np.float64)[prefs.chosen] - TABLE[prefs.rejected]
    solved = []
    for user in range(prefs.num_users):
        rows = prefs.user == user
        weight, f = prefs.pair_weight[rows].astype(float), difference[rows]
        if not weight.any():
            continue
        of_user = []
        for c in range(2):
            precision = np.linalg.inv(spread[c] @ spread[c].T)

            def loss(d, c=c, precision=precision, weight=weight, f=f):
                margin = f[:, 0] + f[:, 1:] @ d
                return (
                    weight @ np.logaddexp(0, -margin)
                    + (d - centre[c]) @ precision @ (d - centre[c]) / 2
                )

            mode = scipy.optimize.minimize(loss, centre[c], method="BFGS", options={"gtol": 1e-9}).x
            right = expit(f[:, 0] + f[:, 1:] @ mode)
            hessian = (f[:, 1:].T * (weight * right * (1 - right))) @ f[:, 1:] + precision
            sizes = np.linalg.slogdet(precision)[1] - np.linalg.slogdet(hessian)[1]
            of_user.append((mode, np.linalg.inv(hessian), log_share[c] - loss(mode) + sizes / 2))
        solved.append(of_user)
    modes, covariances, evidence = (
        np.array(part) for part in zip(*[zip(*u, strict=True) for u in solved], strict=True)
    )
    share = np.exp(evidence - logsumexp(evidence, axis=1, keepdims=True))
    count = share.sum(axis=0)
    new_centre = np.einsum("uc,uck->ck", share, modes) / count[:, None]
    away = modes - new_centre
    scatter = np.einsum("uc,uci,ucj->cij", share, away, away) + np.einsum(
        "uc,ucij->cij", share, covariances
    )
    pooled = scatter.sum(axis=0) / len(solved)
    covariance = (scatter + 10 * pooled) / (count + 10)[:, None, None]
    return (count + 1) / (len(solved) + 2), new_centre, covariance


@pytest.mark.parametrize("devices", [1, 8])
def test_a_step_of_em_against_numpy(devices):
    prefs = problem()
    solved = on_shards(one_step, prefs, devices)
    share, centre, covariance = expected_step(prefs)
    np.testing.assert_allclose(np.exp(solved.log_share), share, rtol=2e-3)
    np.testing.assert_allclose(solved.centre, centre, atol=2e-3)
    np.testing.assert_allclose(
        solved.spread @ np.swapaxes(solved.spread, 1, 2), covariance, atol=2e-3
    )


def test_splitting_keeps_the_moments_of_all_users():
    mixture = jax.tree.map(
        lambda used, free: jnp.concatenate([used, free]), start(), one_component(K, 2)
    )
    mixture = Mixture(mixture.log_share.at[2:].set(-jnp.inf), mixture.centre, mixture.spread)
    halved, modes = module._split(mixture, (jnp.arange(4.0).reshape(4, 1, 1),))
    assert int(halved.in_use) == 4
    np.testing.assert_array_equal(
        modes[0][:, 0, 0], [0, 1, 0, 1]
    )  # children begin where their parent's users are
    for whole, parts in zip(mixture.moments(), halved.moments(), strict=True):
        np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_true_components_are_found():
    # Two components of users with many comparisons each; a third of the users is in the first.
    rng = np.random.default_rng(0)
    users, shots = 90, 64
    centre = np.array([[2.0, 1.0], [-1.5, 0.5]])
    component = (np.arange(users) % 3 > 0).astype(int)
    deviation = centre[component] + 0.3 * rng.normal(size=(users, K))
    of_pairs = rng.normal(size=(K + 1, shots, users))
    margin = of_pairs[0] + np.einsum("ksu,uk->su", of_pairs[1:], deviation)
    of_pairs = (of_pairs * np.where(rng.random(margin.shape) < expit(margin), 1, -1)).astype(
        np.float32
    )

    run = jax.jit(
        jax.vmap(lambda f: learn_mixture([f], [jnp.ones((shots, users))], 1), axis_name="data")
    )
    one, two = (
        jax.tree.map(lambda leaf, i=i: np.asarray(leaf[0, i]), run(of_pairs[None])) for i in (0, 1)
    )
    assert np.isneginf(one.log_share[1])
    np.testing.assert_allclose(one.centre[0], deviation.mean(axis=0), atol=0.3)
    order = np.argsort(-two.centre[:, 0])
    np.testing.assert_allclose(two.centre[order], centre, atol=0.35)
    np.testing.assert_allclose(np.exp(two.log_share[order]), [1 / 3, 2 / 3], atol=0.05)
