"""Ordered levels against a transcription in NumPy, finite differences and an optimum of scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from answers import log_level, optimum
from scipy.special import expit

from lore_jax.solvers.newton import map_estimate
from lore_jax.solvers.ordinal import cumulative_logit

CUTS = np.array([-2.0, -0.4, 0.4, 2.0])
GRID = np.tile(np.linspace(-9.0, 9.0, 181), (5, 1))
LEVEL = np.repeat(np.arange(5)[:, None], GRID.shape[1], axis=1)


def in_float64(name, margin, level=LEVEL, cuts=CUTS):
    with jax.enable_x64(True):
        likelihood = cumulative_logit(jnp.asarray(level), jnp.asarray(cuts, jnp.float64))
        return np.asarray(getattr(likelihood, name)(jnp.asarray(margin, jnp.float64)))


def test_it_is_the_difference_of_two_sigmoids():
    np.testing.assert_allclose(in_float64("loss", GRID), -log_level(GRID, LEVEL, CUTS), atol=1e-9)
    np.testing.assert_allclose(np.exp(-in_float64("loss", GRID)).sum(axis=0), 1.0, atol=1e-9)


def test_slope_curvature_and_bounds():
    step = 1e-4
    for name, derivative in (("loss", "slope"), ("slope", "curvature")):
        rise = in_float64(name, GRID + step) - in_float64(name, GRID - step)
        np.testing.assert_allclose(in_float64(derivative, GRID), rise / (2 * step), atol=1e-7)
    curvature = in_float64("curvature", GRID)
    rise = in_float64("curvature", GRID + step) - in_float64("curvature", GRID - step)
    likelihood = cumulative_logit(jnp.zeros(1, jnp.int32), jnp.asarray(CUTS))
    assert (np.abs(rise) / (2 * step) <= (1 + 1e-4) * likelihood.concordance * curvature).all()
    assert (curvature > 0).all()
    assert curvature.max() <= likelihood.ceiling


def test_it_is_finite_in_single_precision_wherever_the_margin_is():
    margin = jnp.tile(jnp.array([-1e4, -80.0, 0.0, 80.0, 1e4])[None], (5, 1))
    likelihood = cumulative_logit(jnp.asarray(LEVEL[:, :5]), jnp.asarray(CUTS, jnp.float32))
    for name in ("loss", "slope", "curvature"):
        assert np.isfinite(getattr(likelihood, name)(margin)).all()


def test_three_levels_are_the_ties_of_rao_and_kupper():
    margin, cut = np.linspace(-4, 4, 17), 0.7
    level = np.full(17, 1)
    tie = np.exp(-in_float64("loss", margin, level, np.array([-cut, cut])))
    np.testing.assert_allclose(tie, 1 - expit(margin - cut) - expit(-margin - cut), atol=1e-9)


def test_predictions_of_all_levels_add_up_to_one():
    mean = jnp.tile(jnp.linspace(-4, 4, 9)[None], (5, 1))
    likelihood = cumulative_logit(jnp.asarray(LEVEL[:, :9]), jnp.asarray(CUTS, jnp.float32))
    probability = np.exp(likelihood.predictive(mean, jnp.full((5, 9), 3.0)))
    np.testing.assert_allclose(probability.sum(axis=0), 1.0, atol=1e-5)
    draws = np.asarray(mean[0])[:, None] + np.sqrt(3.0) * np.random.default_rng(0).normal(
        size=40_000
    )
    expected = [
        np.exp(log_level(draws, np.full(draws.shape, level), CUTS)).mean(1) for level in range(5)
    ]
    np.testing.assert_allclose(probability, expected, atol=0.01)


@pytest.mark.parametrize("constant", [False, True])
def test_the_mode_and_the_covariance_are_those_of_scipy(constant):
    rng = np.random.default_rng(1)
    features, offset = rng.standard_normal((3, 9)), 0.3 * rng.standard_normal(9)
    level = np.full(9, 4) if constant else rng.integers(0, 5, 9)
    found = map_estimate(
        *(jnp.asarray(x, jnp.float32) for x in (features, offset, np.ones(9), np.zeros(3))),
        likelihood=cumulative_logit(jnp.asarray(level), jnp.asarray(CUTS, jnp.float32)),
    )
    mode, covariance = optimum(lambda d: log_level(offset + d @ features, level, CUTS).sum(), 3)
    assert bool(found.converged)
    np.testing.assert_allclose(found.deviation, mode, atol=1e-4)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-3)
