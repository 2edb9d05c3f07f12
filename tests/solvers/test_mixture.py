"""The posterior under a mixture against scipy in float64, component by component, and against
quadrature.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from scipy.special import expit, logsumexp

from lore_jax.solvers.mixture import Mixture, component_step, mixture_estimate, one_component
from lore_jax.solvers.newton import map_estimate

K, SHOTS, USERS = 2, 6, 4
solve = jax.jit(mixture_estimate)


def components(seed=0, count=3, slots=4, k=K):
    rng = np.random.default_rng(seed)
    share = np.zeros(slots)
    share[:count] = rng.dirichlet(np.full(count, 5.0))
    roots = np.eye(k) * 0.6 + 0.3 * np.tril(rng.normal(size=(slots, k, k)))
    spread = np.linalg.cholesky(roots @ np.swapaxes(roots, 1, 2) + 0.05 * np.eye(k))
    with np.errstate(divide="ignore"):
        parts = np.log(share), 2.0 * rng.normal(size=(slots, k)), spread
    return Mixture(*(jnp.asarray(part, jnp.float32) for part in parts))


def comparisons(seed=1, k=K):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(k, SHOTS, USERS)).astype(np.float32)
    weight = rng.uniform(0.5, 2.0, (SHOTS, USERS)).astype(np.float32)
    weight[4:, 0] = 0.0  # padding
    weight[:, 1] = 0.0  # nothing known
    return features, rng.normal(size=(SHOTS, USERS)).astype(np.float32), weight


def expected(features, offset, weight, mixture):
    """Mean and covariance of one user's deviation: a mode for each component, then the mixture."""
    modes, covariances, evidences = [], [], []
    for log_share, centre, spread in zip(
        *(np.asarray(part, np.float64) for part in jax.tree.leaves(mixture)), strict=True
    ):
        if log_share == -np.inf:
            continue
        inside = spread @ spread.T
        precision = np.linalg.inv(inside)

        def loss(d, centre=centre, precision=precision):
            return (
                weight @ np.logaddexp(0, -(offset + d @ features))
                + (d - centre) @ precision @ (d - centre) / 2
            )

        mode = scipy.optimize.minimize(loss, centre, method="BFGS", options={"gtol": 1e-9}).x
        right = expit(offset + mode @ features)
        hessian = (features * (weight * right * (1 - right))) @ features.T + precision
        modes.append(mode)
        covariances.append(np.linalg.inv(hessian))
        # Laplace: the prior's and the posterior's normalising constants; the powers of 2 pi cancel.
        evidences.append(
            log_share
            - loss(mode)
            - (np.linalg.slogdet(inside)[1] + np.linalg.slogdet(hessian)[1]) / 2
        )
    share = np.exp(np.array(evidences) - logsumexp(evidences))
    mean = share @ np.array(modes)
    away = np.array(modes) - mean
    return mean, np.einsum("c,cij->ij", share, covariances) + (away * share[:, None]).T @ away


def test_against_scipy():
    features, offset, weight = comparisons()
    mixture = components()
    found = solve(features, offset, weight, mixture)
    assert bool(found.converged.all())
    for user in range(USERS):
        mean, covariance = expected(features[..., user], offset[:, user], weight[:, user], mixture)
        np.testing.assert_allclose(found.deviation[:, user], mean, atol=2e-3)
        np.testing.assert_allclose(found.covariance[..., user], covariance, atol=2e-3)


def test_one_dimension_against_quadrature():
    # What Laplace approximates: the mean of the true posterior. Components are apart, so that it
    # has several modes.
    features, offset, weight = comparisons(k=1)
    mixture = components(k=1, seed=2)
    found = solve(features, offset, weight, mixture)
    d = np.linspace(-12, 12, 20001)
    share = np.exp(np.asarray(mixture.log_share, np.float64))
    prior = sum(
        s * scipy.stats.norm.pdf(d, float(c[0]), float(w[0, 0]))
        for s, c, w in zip(share, mixture.centre, mixture.spread, strict=True)
    )
    for user in range(USERS):
        margin = offset[:, user, None] + features[0, :, user, None] * d
        density = prior * np.exp(-weight[:, user] @ np.logaddexp(0, -margin))
        density /= density.sum()
        mean = density @ d
        deviation = np.sqrt(density @ (d - mean) ** 2)
        assert abs(float(found.deviation[0, user]) - mean) < 0.25 * deviation
        np.testing.assert_allclose(np.sqrt(found.covariance[0, 0, user]), deviation, rtol=0.15)


def test_without_comparisons_it_is_the_moments_of_all_users():
    mixture = components()
    found = solve(*comparisons(), mixture)
    mean, covariance = mixture.moments()
    np.testing.assert_allclose(found.deviation[:, 1], mean, atol=1e-5)
    np.testing.assert_allclose(found.covariance[..., 1], covariance, atol=1e-4)
    rng = np.random.default_rng(0)
    share = np.exp(np.asarray(mixture.log_share, np.float64))
    component = rng.choice(4, 200_000, p=share / share.sum())
    spread, centre = np.asarray(mixture.spread), np.asarray(mixture.centre)
    drawn = centre[component] + np.einsum(
        "nij,nj->ni", spread[component], rng.normal(size=(len(component), K))
    )
    np.testing.assert_allclose(mean, drawn.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(covariance, np.cov(drawn, rowvar=False), atol=0.05)


def test_one_component_is_the_gaussian():
    features, offset, weight = comparisons()
    found = solve(features, offset, weight, one_component(K, 4))
    plain = jax.jit(map_estimate)(features, offset, weight, jnp.zeros((K, USERS)))
    np.testing.assert_allclose(found.deviation, plain.deviation, atol=1e-6)
    np.testing.assert_allclose(found.covariance, plain.covariance, atol=1e-6)
    np.testing.assert_array_equal(found.steps, plain.steps)


@pytest.mark.parametrize("component", [0, 2])
def test_steps_lead_to_the_mode_and_its_evidence(component):
    features, offset, weight = comparisons()
    mixture = components()
    deviation = jnp.zeros((K, USERS))
    step = jax.jit(component_step)
    for _ in range(8):
        found = step(features, offset, weight, mixture, component, deviation)
        deviation = found.deviation
    alone = Mixture(
        *(
            leaf[component : component + 1]
            for leaf in (jnp.zeros(4), mixture.centre, mixture.spread)
        )
    )
    for user in range(USERS):
        mean, covariance = expected(features[..., user], offset[:, user], weight[:, user], alone)
        np.testing.assert_allclose(deviation[:, user], mean, atol=1e-3)
        np.testing.assert_allclose(found.covariance[..., user], covariance, atol=1e-3)
    # Evidence by brute force: the mean likelihood of deviations drawn from the component.
    rng = np.random.default_rng(3)
    centre, spread = np.asarray(mixture.centre[component]), np.asarray(mixture.spread[component])
    drawn = centre + rng.normal(size=(100_000, K)) @ spread.T
    for user in range(USERS):
        margin = offset[:, user] + drawn @ features[..., user]
        exact = np.log(np.mean(np.exp(-np.logaddexp(0, -margin) @ weight[:, user])))
        np.testing.assert_allclose(
            found.log_evidence[user], exact, atol=0.2
        )  # Laplace is an approximation
