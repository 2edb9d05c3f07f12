"""Priors: moments, directions and solves, each against float64 in the weights themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit

from lore_jax.model.prior import GaussianPrior, MixturePrior, SimplexPrior
from lore_jax.solvers.mixture import Mixture, one_component

RANK, SHOTS, USERS = 3, 8, 4
RNG = np.random.default_rng(0)
MEAN = RNG.standard_normal(RANK).astype(np.float32)
FACTOR = RNG.standard_normal((RANK, RANK)).astype(np.float32)
FEATURES = RNG.standard_normal((SHOTS, USERS, RANK)).astype(np.float32)
WEIGHT = RNG.uniform(0.5, 2.0, (SHOTS, USERS)).astype(np.float32)
WEIGHT[5:, 1] = 0.0  # padding
WEIGHT[:, 2] = 0.0  # nobody asked

GAUSSIAN = GaussianPrior(jnp.asarray(MEAN), jnp.asarray(FACTOR))
MIXTURE = MixturePrior(jnp.asarray(MEAN), jnp.asarray(FACTOR), one_component(RANK, 4))
SIMPLEX = SimplexPrior(jnp.array([0.2, 0.3, 0.5]))
PRIORS = {"gaussian": GAUSSIAN, "mixture": MIXTURE, "simplex": SIMPLEX}


@jax.jit
def solve(prior, start=None):
    along = jnp.moveaxis(prior.project(jnp.asarray(FEATURES)), -1, 0)
    return prior.solve(along, jnp.asarray(WEIGHT), start)


def test_moments_and_directions():
    np.testing.assert_allclose(GAUSSIAN.covariance, FACTOR @ FACTOR.T, rtol=1e-5)
    np.testing.assert_array_equal(SIMPLEX.covariance, np.zeros((RANK, RANK)))
    axes = np.concatenate([FACTOR, MEAN[:, None]], axis=1)
    for prior in (GAUSSIAN, MIXTURE):
        projected = prior.project(jnp.asarray(FEATURES))
        np.testing.assert_allclose(projected, FEATURES @ axes, atol=1e-5)
    np.testing.assert_array_equal(SIMPLEX.project(jnp.asarray(FEATURES)), FEATURES)
    starts = [GAUSSIAN.warm_starts, MIXTURE.warm_starts, SIMPLEX.warm_starts]
    assert starts == [True, True, False]


def test_a_gaussian_against_scipy():
    found = solve(GAUSSIAN)
    covariance = FACTOR.astype(np.float64) @ FACTOR.T
    precision = np.linalg.inv(covariance)
    for user in range(USERS):
        f, c = FEATURES[:, user].astype(np.float64), WEIGHT[:, user].astype(np.float64)

        def value(d, f=f, c=c):
            margin = f @ (MEAN + FACTOR @ d)
            gradient = d - FACTOR.T @ (f.T @ (c * expit(-margin)))
            return c @ np.logaddexp(0.0, -margin) + d @ d / 2, gradient

        start, options = np.zeros(RANK), {"gtol": 1e-9}
        deviation = scipy.optimize.minimize(
            value, start, jac=True, method="BFGS", options=options
        ).x
        mode = MEAN + FACTOR @ deviation
        curvature = c * expit(f @ mode) * expit(-f @ mode)
        expected = np.linalg.inv(precision + (f * curvature[:, None]).T @ f)
        scale = np.sqrt(np.diag(expected))
        np.testing.assert_allclose((found.weights[:, user] - mode) / scale, 0.0, atol=2e-3)
        np.testing.assert_allclose(
            (found.covariance[..., user] - expected) / np.outer(scale, scale), 0, atol=5e-3
        )
    assert np.asarray(found.converged).all()
    np.testing.assert_array_equal(found.shots, [8, 5, 0, 8])


def test_the_simplex_against_scipy():
    found = solve(SIMPLEX)
    assert found.covariance is None
    for user in (0, 1, 3):
        f, c = FEATURES[:, user].astype(np.float64), WEIGHT[:, user].astype(np.float64)
        expected = scipy.optimize.minimize(
            lambda w, f=f, c=c: c @ np.logaddexp(0.0, -f @ w) / c.sum(),
            np.full(RANK, 1 / RANK),
            bounds=[(0.0, 1.0)] * RANK,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0},
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        np.testing.assert_allclose(found.weights[:, user], expected.x, atol=5e-3)
    np.testing.assert_array_equal(found.weights[:, 2], SIMPLEX.mean)  # without shots


def test_a_mixture_of_one_component_is_the_gaussian():
    for one, other in zip(*map(jax.tree.leaves, (solve(GAUSSIAN), solve(MIXTURE))), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_mixture_has_the_moments_of_its_components():
    # Two groups along the first deviation, mean 0 and covariance I together.
    apart = 0.95
    centre = apart * np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    spread = np.tile(np.diag([np.sqrt(1 - apart**2), 1.0, 1.0]), (2, 1, 1))
    parts = (np.full(2, np.log(0.5)), centre, spread)
    mixture = Mixture(*(jnp.asarray(part, jnp.float32) for part in parts))
    prior = MixturePrior(GAUSSIAN.mean, GAUSSIAN.factor, mixture)
    found = solve(prior)
    np.testing.assert_allclose(found.weights[:, 2], MEAN, atol=1e-5)
    np.testing.assert_allclose(found.covariance[..., 2], GAUSSIAN.covariance, atol=1e-4)
    away = found.weights - solve(GAUSSIAN).weights
    assert np.abs(away).max() > 0.01


@pytest.mark.parametrize("name", PRIORS)
def test_components_together_are_the_posterior(name):
    prior = PRIORS[name]
    if name == "mixture":
        centre = np.array([[1.0, 0, 0], [-0.5, 0.5, 0], [0, 0, 0]])
        share = np.log([0.3, 0.7, 1e-30])
        share[2] = -np.inf  # out of use
        parts = (share, centre, np.tile(0.5 * np.eye(3), (3, 1, 1)))
        mixture = Mixture(*(jnp.asarray(part, jnp.float32) for part in parts))
        prior = MixturePrior(GAUSSIAN.mean, GAUSSIAN.factor, mixture)
    found = solve(prior)
    along = jnp.moveaxis(prior.project(jnp.asarray(FEATURES)), -1, 0)
    parts = jax.jit(lambda p, a, c: p.components(a, c))(prior, along, jnp.asarray(WEIGHT))
    share = np.exp(parts.log_share)
    assert share.shape == (USERS, prior.num_components)
    np.testing.assert_allclose(share.sum(axis=1), 1.0, rtol=1e-5)
    mean = np.einsum("uc,ucr->ur", share, parts.weights)
    np.testing.assert_allclose(mean, found.weights.T, atol=1e-4)
    if name == "simplex":
        assert not np.any(parts.covariance)
        return
    away = parts.weights - mean[:, None]
    covariance = np.einsum("uc,ucrs->urs", share, parts.covariance)
    covariance += np.einsum("uc,ucr,ucs->urs", share, away, away)
    np.testing.assert_allclose(covariance, np.moveaxis(found.covariance, -1, 0), atol=1e-3)


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_a_start_changes_the_way_and_not_the_end(name):
    prior = PRIORS[name]
    found = solve(prior)
    far = found.weights + 3.0 * RNG.standard_normal((RANK, USERS)).astype(np.float32)
    np.testing.assert_allclose(solve(prior, far).weights, found.weights, atol=2e-3)
    again = solve(prior, found.weights)
    np.testing.assert_allclose(again.weights, found.weights, atol=2e-3)
    assert np.asarray(again.steps).max() == 0


def test_a_factor_with_fewer_columns_holds_the_weights_on_its_span():
    prior = GaussianPrior(GAUSSIAN.mean, GAUSSIAN.factor[:, :2])
    found = solve(prior)
    away = np.asarray(found.weights) - MEAN[:, None]
    inside = FACTOR[:, :2] @ np.linalg.pinv(FACTOR[:, :2])
    np.testing.assert_allclose(inside @ away, away, atol=1e-5)
    outside = away + np.cross(FACTOR[:, 0], FACTOR[:, 1])[:, None]  # what the prior cannot reach
    started = solve(prior, jnp.asarray(outside + MEAN[:, None], jnp.float32))
    np.testing.assert_allclose(started.weights, found.weights, atol=2e-3)
    fixed = solve(GaussianPrior(GAUSSIAN.mean, jnp.zeros((RANK, 0))))
    np.testing.assert_array_equal(fixed.weights, np.tile(MEAN[:, None], USERS))
    np.testing.assert_array_equal(fixed.covariance, 0.0)


def test_a_simplex_refuses_a_start_in_one_line():
    with pytest.raises(ValueError, match="middle of the simplex: start must be None") as refusal:
        solve(SIMPLEX, jnp.ones((RANK, USERS)))
    assert "\n" not in str(refusal.value)
