import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from scipy.special import expit

from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.solvers.mixture import Mixture, one_component
from lore_jax.solvers.newton import map_estimate
from lore_jax.solvers.variational import Averaged, mean_estimate, mean_under_mixture

K, SHOTS, USERS = 2, 5, 4
RNG = np.random.default_rng(0)
FEATURES = (2.0 * RNG.standard_normal((K, SHOTS, USERS))).astype(np.float32)
FEATURES[:, :, 1] *= 8.0  # somebody whose margins are tens of logits
OFFSET = RNG.standard_normal((SHOTS, USERS)).astype(np.float32)
WEIGHT = RNG.uniform(0.5, 2.0, (SHOTS, USERS)).astype(np.float32)
WEIGHT[3:, 2] = 0.0  # padding
WEIGHT[:, 3] = 0.0  # nobody asked
ANSWERS = FEATURES, OFFSET, WEIGHT

solve = jax.jit(mean_estimate)


@pytest.mark.parametrize(("sd", "error"), [(1.0, 1e-4), (5.0, 1e-3), (10.0, 1e-2)])
def test_averages_against_integrals(sd, error):
    margin = np.linspace(-15.0, 15.0, 31)
    e = np.linspace(-9.0, 9.0, 6001)
    drawn, density = margin[:, None] + sd * e, scipy.stats.norm.pdf(e) * (e[1] - e[0])
    averaged = Averaged(LOGISTIC, jnp.full(31, sd**2, jnp.float32))
    margin = jnp.asarray(margin, jnp.float32)
    lost = expit(-drawn)
    np.testing.assert_allclose(averaged.loss(margin), np.logaddexp(0, -drawn) @ density, atol=0.02)
    np.testing.assert_allclose(averaged.slope(margin), -lost @ density, atol=error)
    curvature = (lost * (1.0 - lost)) @ density
    np.testing.assert_allclose(averaged.curvature(margin), curvature, atol=error)


def divergence(user):
    """F of the file, of mean and root of the covariance, in float64."""
    features, offset, weight = (np.asarray(part, np.float64)[..., user] for part in ANSWERS)
    e = np.linspace(-7.0, 7.0, 401)
    density = scipy.stats.norm.pdf(e) * (e[1] - e[0])

    def of(parameters):
        mean, root = parameters[:K], np.zeros((K, K))
        root[np.tril_indices(K)] = parameters[K:]
        covariance = root @ root.T
        sd = np.sqrt(np.einsum("kn,kl,ln->n", features, covariance, features))
        drawn = (offset + mean @ features)[:, None] + sd[:, None] * e
        size = mean @ mean + np.trace(covariance) - K
        size -= 2.0 * np.log(np.abs(np.diag(root))).sum()
        return weight @ (np.logaddexp(0.0, -drawn) @ density) + 0.5 * size

    return of


def test_the_nearest_gaussian_against_scipy():
    found = solve(*ANSWERS, jnp.zeros((K, USERS)))
    assert np.asarray(found.converged).all()
    start = np.concatenate([np.zeros(K), np.eye(K)[np.tril_indices(K)]])
    for user in range(USERS):
        of = divergence(user)
        best = scipy.optimize.minimize(of, start, tol=1e-9)
        covariance = np.asarray(found.covariance, np.float64)[..., user]
        mean = np.asarray(found.deviation, np.float64)[:, user]
        root = np.linalg.cholesky(covariance)[np.tril_indices(K)]
        # Tens of logits are a corner of the loss, which nodes average to a hundredth.
        assert of(np.concatenate([mean, root])) <= best.fun + (0.02 if user == 1 else 1e-4)
    np.testing.assert_array_equal(found.deviation[:, 3], 0.0)
    np.testing.assert_allclose(found.covariance[..., 3], np.eye(K), atol=1e-6)


def exact(user, log_prior):
    """Mean and covariance of a user's posterior, on a grid."""
    features, offset, weight = (np.asarray(part, np.float64)[..., user] for part in ANSWERS)
    axis = np.linspace(-6.0, 6.0, 241)
    d = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, K)
    log_density = log_prior(d) - np.logaddexp(0.0, -(offset + d @ features)) @ weight
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    mean = density @ d
    return mean, np.einsum("n,ni,nj->ij", density, d - mean, d - mean)


def test_the_mean_is_the_posteriors_mean_where_the_mode_is_not():
    found = solve(*ANSWERS, jnp.zeros((K, USERS)))
    mode = jax.jit(map_estimate)(*ANSWERS, jnp.zeros((K, USERS)))
    for user in (0, 1, 2):
        mean, covariance = exact(user, lambda d: -0.5 * (d**2).sum(axis=1))
        error, of_mode = (
            np.linalg.norm(np.asarray(x.deviation[:, user]) - mean) for x in (found, mode)
        )
        assert error < 0.06
        assert error < 0.4 * of_mode
        np.testing.assert_allclose(found.covariance[..., user], covariance, atol=0.12)


def test_one_component_is_the_gaussian():
    alone = solve(*ANSWERS, jnp.zeros((K, USERS)))
    mixed = jax.jit(mean_under_mixture)(*ANSWERS, one_component(K, 2))
    np.testing.assert_allclose(mixed.deviation, alone.deviation, atol=1e-5)
    np.testing.assert_allclose(mixed.covariance, alone.covariance, atol=1e-5)
    assert np.asarray(mixed.converged).all()


def test_a_mixtures_mean_against_a_grid():
    centre = np.array([[1.5, 0.0], [-1.0, 1.0]])
    spread = np.stack([0.5 * np.eye(K), np.array([[0.7, 0.0], [0.3, 0.4]])])
    share = np.array([0.4, 0.6])

    def log_prior(d):
        parts = zip(share, centre, spread, strict=True)
        normal = scipy.stats.multivariate_normal
        return np.log(sum(part * normal(c, s @ s.T).pdf(d) for part, c, s in parts))

    mixture = Mixture(*(jnp.asarray(x, jnp.float32) for x in (np.log(share), centre, spread)))
    found = jax.jit(mean_under_mixture)(*ANSWERS, mixture)
    for user in (0, 2, 3):
        mean, covariance = exact(user, log_prior)
        np.testing.assert_allclose(found.deviation[:, user], mean, atol=0.06)
        np.testing.assert_allclose(found.covariance[..., user], covariance, atol=0.1)
