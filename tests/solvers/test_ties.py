"""Davidson's ties against a transcription in NumPy, finite differences and an optimum of scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from answers import log_tie, optimum

from lore_jax.solvers.newton import map_estimate
from lore_jax.solvers.ties import Davidson

NU = 0.8
GRID = np.tile(np.linspace(-9.0, 9.0, 181), (3, 1))
OUTCOME = np.repeat(np.arange(3)[:, None], GRID.shape[1], axis=1)


def in_float64(name, margin):
    with jax.enable_x64(True):
        likelihood = Davidson(jnp.asarray(OUTCOME), jnp.asarray(np.log(NU), jnp.float64))
        return np.asarray(getattr(likelihood, name)(jnp.asarray(margin, jnp.float64)))


def test_it_and_its_derivatives():
    np.testing.assert_allclose(in_float64("loss", GRID), -log_tie(GRID, OUTCOME, NU), atol=1e-9)
    step = 1e-4
    for name, derivative in (("loss", "slope"), ("slope", "curvature")):
        rise = in_float64(name, GRID + step) - in_float64(name, GRID - step)
        np.testing.assert_allclose(in_float64(derivative, GRID), rise / (2 * step), atol=1e-7)
    curvature = in_float64("curvature", GRID)
    rise = in_float64("curvature", GRID + step) - in_float64("curvature", GRID - step)
    likelihood = Davidson(jnp.array(0), jnp.array(0.0))
    assert (np.abs(rise) / (2 * step) <= (1 + 1e-4) * likelihood.concordance * curvature).all()
    assert curvature.max() <= likelihood.ceiling


def test_it_is_finite_far_out_and_its_predictions_add_up_to_one():
    far = jnp.tile(jnp.array([-1e4, 0.0, 1e4])[None], (3, 1))
    likelihood = Davidson(jnp.asarray(OUTCOME[:, :3]), jnp.array(np.log(NU), jnp.float32))
    for name in ("loss", "slope", "curvature"):
        assert np.isfinite(getattr(likelihood, name)(far)).all()
    mean = jnp.tile(jnp.array([-1.0, 0.0, 2.0])[None], (3, 1))
    probability = np.exp(likelihood.predictive(mean, jnp.full((3, 3), 2.0)))
    np.testing.assert_allclose(probability.sum(axis=0), 1.0, atol=1e-5)
    np.testing.assert_allclose(probability[:, 1], probability[::-1, 1], atol=1e-5)


@pytest.mark.parametrize("all_ties", [False, True])
def test_the_mode_and_the_covariance_are_those_of_scipy(all_ties):
    rng = np.random.default_rng(1)
    features, offset = rng.standard_normal((3, 9)), 0.3 * rng.standard_normal(9)
    outcome = np.full(9, 1) if all_ties else rng.integers(0, 3, 9)
    found = map_estimate(
        *(jnp.asarray(x, jnp.float32) for x in (features, offset, np.ones(9), np.zeros(3))),
        likelihood=Davidson(jnp.asarray(outcome), jnp.array(np.log(NU), jnp.float32)),
    )
    mode, covariance = optimum(lambda d: log_tie(offset + d @ features, outcome, NU).sum(), 3)
    assert bool(found.converged)
    np.testing.assert_allclose(found.deviation, mode, atol=1e-4)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-3)
