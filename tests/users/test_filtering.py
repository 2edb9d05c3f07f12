"""The filter against a transcription in NumPy, and its relaxation against the prior."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from lore_jax.data.preferences import from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior, SimplexPrior
from lore_jax.users.adapt import adapt
from lore_jax.users.filtering import filter_answers, retention_of

RANK, RESPONSES, USERS = 3, 14, 4
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((RESPONSES, RANK)).astype(np.float32)
FACTOR = np.array([[0.0, 0.0], [1.0, 0.2], [0.0, 0.7]], np.float32)
MEAN = np.array([1.0, 0.0, 0.3], np.float32)
PRIOR = GaussianPrior(jnp.asarray(MEAN), jnp.asarray(FACTOR))
MODEL = Model(LinearBasis(RANK), {"V": jnp.eye(RANK)}, jnp.ones(()), PRIOR)
NODE = np.linspace(-8, 8, 2001)


def answers(count=(7, 0, 3, 12), seed=1):
    rng, user = np.random.default_rng(seed), np.repeat(np.arange(USERS), count)
    chosen = rng.integers(RESPONSES, size=len(user))
    rejected = (chosen + rng.integers(1, RESPONSES, size=len(user))) % RESPONSES
    return from_arrays(TABLE, chosen, rejected, user, num_users=USERS)


PREFS = answers()


def transcription(user, retention):
    m, s, out = np.zeros(2), np.eye(2), []
    mine = PREFS.user == user
    for c, r in zip(PREFS.chosen[mine], PREFS.rejected[mine], strict=True):
        x = TABLE[c].astype(np.float64) - TABLE[r]
        f, offset = x @ FACTOR, x @ MEAN
        m, s = retention * m, retention**2 * s + (1 - retention**2) * np.eye(2)
        mu, v = offset + f @ m, f @ s @ f
        out.append(np.log(expit(mu / np.sqrt(1 + np.pi / 8 * v))))
        z = mu + np.sqrt(v) * NODE
        p = np.exp(-(NODE**2) / 2) * expit(z)
        after = p @ z / p.sum()
        left = p @ (z - after) ** 2 / p.sum()
        m = m + s @ f * (after - mu) / v
        s = s - np.outer(s @ f, s @ f) * (v - left) / v**2
    return np.array(out), MEAN + FACTOR @ m, FACTOR @ s @ FACTOR.T


@pytest.mark.parametrize("retention", [1.0, 0.8])
def test_against_a_transcription(retention):
    found = filter_answers(MODEL, PREFS, retention=retention)
    for user in range(USERS):
        log_probability, weights, covariance = transcription(user, retention)
        mine = PREFS.user == user
        np.testing.assert_allclose(found.log_probability[mine], log_probability, atol=2e-3)
        np.testing.assert_allclose(found.posterior.weights[user], weights, atol=2e-3)
        np.testing.assert_allclose(found.posterior.covariance[user], covariance, atol=2e-3)
    assert found.posterior.shots.tolist() == [7, 0, 3, 12]
    x = TABLE[PREFS.chosen] - TABLE[PREFS.rejected]
    spread = np.sum((x @ FACTOR) ** 2, axis=1)
    nobody = np.log(expit(x @ MEAN / np.sqrt(1 + np.pi / 8 * spread)))
    np.testing.assert_allclose(found.population, nobody, atol=1e-4)


def test_without_forgetting_it_is_near_a_refit():
    found, exact = filter_answers(MODEL, PREFS).posterior, adapt(MODEL, PREFS)
    away = np.abs(found.weights - np.asarray(exact.weights))
    assert away.max() < 0.35  # the mean instead of the mode, and a Gaussian after each answer
    assert np.corrcoef(found.weights[:, 1:].ravel(), exact.weights[:, 1:].ravel())[0, 1] > 0.95


def test_who_forgets_everything_is_the_population():
    found = filter_answers(MODEL, PREFS, retention=1e-6)
    np.testing.assert_allclose(found.log_probability, found.population, atol=1e-4)


def test_bad_rates_and_priors_are_refused():
    for retention in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="above 0 and at most 1 is expected"):
            filter_answers(MODEL, PREFS, retention=retention)
    simplex = MODEL.replace(prior=SimplexPrior(jnp.full(RANK, 1 / RANK)))
    with pytest.raises(ValueError, match="the prior is a SimplexPrior: a Gaussian one is expected"):
        filter_answers(simplex, PREFS)
    assert retention_of(2.0) ** 2 == pytest.approx(0.5)
