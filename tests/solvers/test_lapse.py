"""Lapses: the mixture's loss and slope, a bound that holds, modes that slips do not turn."""

import jax
import jax.numpy as jnp
import numpy as np
from answers import optimum
from scipy.special import expit

from lore_jax.solvers.lapse import Lapse
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.solvers.newton import map_estimate
from lore_jax.solvers.rankings import Ranking, pairs_of

RATE = 0.1
PAIRS = Lapse(LOGISTIC, jnp.array(RATE, jnp.float32), 2)


def probability(margin):
    return (1 - RATE) * expit(margin) + RATE / 2


def test_loss_and_slope_are_those_of_the_mixture():
    grid = np.linspace(-12, 12, 97)
    margin = jnp.asarray(grid, jnp.float32)
    np.testing.assert_allclose(PAIRS.loss(margin), -np.log(probability(grid)), atol=1e-5)
    rise = np.log(probability(grid - 1e-5)) - np.log(probability(grid + 1e-5))
    np.testing.assert_allclose(PAIRS.slope(margin), rise / 2e-5, atol=1e-5)
    np.testing.assert_allclose(
        PAIRS.predictive(margin, jnp.zeros(97)), np.log(probability(grid)), atol=1e-5
    )


def test_the_bound_with_its_curvature_lies_above_the_loss():
    at, grid = 1.5, np.linspace(-8, 8, 65)
    rho = (1 - RATE) * expit(at) / probability(at)
    bound = -rho * np.log(expit(grid)) + rho * np.log(expit(at)) - np.log(probability(at))
    assert (bound >= -np.log(probability(grid)) - 1e-9).all()
    curvature = float(PAIRS.curvature(jnp.array([at], jnp.float32))[0])
    assert np.isclose(curvature, rho * expit(at) * expit(-at), atol=1e-6)


def test_no_lapses_are_the_likelihood_itself():
    margin, none = jnp.linspace(-3, 3, 7), Lapse(LOGISTIC, jnp.array(0.0), 2)
    for name in ("loss", "slope", "curvature"):
        np.testing.assert_allclose(
            getattr(none, name)(margin), getattr(LOGISTIC, name)(margin), atol=1e-6
        )


def test_of_a_ranking_the_whole_answer_lapses():
    kind = Lapse(Ranking(3, 2), jnp.array(RATE, jnp.float32), 6, entries=3)
    rewards = np.random.default_rng(0).standard_normal((2, 3))
    margin = np.concatenate([[r[a] - r[b] for a, b in pairs_of(3)] for r in rewards])
    margin = jnp.asarray(margin, jnp.float32)
    meant = np.exp(-np.asarray(Ranking(3, 2).loss(margin)).reshape(2, 3).sum(axis=1))
    found = np.asarray(kind.loss(margin)).reshape(2, 3)
    np.testing.assert_allclose(found[:, 0], -np.log((1 - RATE) * meant + RATE / 6), atol=1e-5)
    np.testing.assert_array_equal(found[:, 1:], 0.0)
    direction = jnp.asarray([1.0, 2.0, 1.0, -1.0, 0.5, 1.5])  # differences add up
    numeric = jax.grad(lambda share: jnp.sum(kind.loss(margin + share * direction)))(0.0)
    assert np.isclose(jnp.sum(kind.slope(margin) * direction), numeric, atol=1e-5)


def test_the_mode_is_that_of_scipy_and_a_slip_hardly_moves_it():
    rng = np.random.default_rng(2)
    features = 3.0 * np.abs(rng.standard_normal((2, 14)))
    features[:, 0] *= -4.0  # one answer against everything else
    arrays = [jnp.asarray(x, jnp.float32) for x in (features, np.zeros(14), np.ones(14))]
    meant = map_estimate(*arrays, jnp.zeros(2))
    found = map_estimate(*arrays, meant.deviation, likelihood=PAIRS)
    mode, _ = optimum(lambda d: np.log(probability(d @ features)).sum(), 2)
    np.testing.assert_allclose(found.deviation, mode, atol=2e-3)
    without = map_estimate(*[array[..., 1:] for array in arrays], jnp.zeros(2))
    gap = [np.linalg.norm(one.deviation - without.deviation) for one in (found, meant)]
    assert gap[0] < 0.5 * gap[1]
