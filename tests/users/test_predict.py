import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.special import expit

from lore_jax.data.preferences import from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model, response_keys
from lore_jax.model.posterior import Posterior, population_posterior
from lore_jax.model.prior import GaussianPrior, ItemEffects
from lore_jax.users.predict import Margins, margins, predict_proba, sample_weights

DIM, RANK, USERS, RESPONSES, PAIRS = 6, 3, 5, 12, 40
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((RESPONSES, DIM)).astype(np.float32)
V = RNG.standard_normal((DIM, RANK)).astype(np.float32)
WEIGHTS = RNG.standard_normal((USERS, RANK)).astype(np.float32)
ROOT = RNG.standard_normal((USERS, RANK, RANK)).astype(np.float32)
COVARIANCE = ROOT @ ROOT.transpose(0, 2, 1)

MODEL = Model(
    LinearBasis(RANK),
    {"V": jnp.asarray(V)},
    jnp.asarray(2.0),
    GaussianPrior(jnp.ones(RANK), jnp.eye(RANK)),
    temperature=4.0,
)
POSTERIOR = Posterior(WEIGHTS, COVARIANCE, *(np.zeros(USERS) for _ in range(4)))
REWARDS = TABLE.astype(np.float64) @ V / 2.0 / 4.0  # embeddings / input_scale @ V / temperature


def pairs(seed=0, num_pairs=PAIRS):
    rng = np.random.default_rng(seed)
    chosen = rng.integers(RESPONSES, size=num_pairs)
    rejected = (chosen + rng.integers(1, RESPONSES, size=num_pairs)) % RESPONSES
    return from_arrays(
        TABLE, chosen, rejected, rng.integers(USERS, size=num_pairs), num_users=USERS
    )


def test_margins_against_numpy():
    prefs = pairs()
    found = margins(MODEL, POSTERIOR, prefs)
    for i in range(PAIRS):
        feature, user = REWARDS[prefs.chosen[i]] - REWARDS[prefs.rejected[i]], prefs.user[i]
        assert found.mean[i] == pytest.approx(feature @ WEIGHTS[user], abs=1e-5)
        assert found.variance[i] == pytest.approx(feature @ COVARIANCE[user] @ feature, rel=1e-4)


def test_the_margin_is_that_of_random_weights():
    prefs = pairs(1, 3)
    found = margins(MODEL, POSTERIOR, prefs)
    rng = np.random.default_rng(1)
    for i in range(3):
        user = prefs.user[i]
        drawn = rng.multivariate_normal(WEIGHTS[user], COVARIANCE[user], 20_000)
        z = drawn @ (REWARDS[prefs.chosen[i]] - REWARDS[prefs.rejected[i]])
        assert found.mean[i] == pytest.approx(z.mean(), abs=5 * z.std() / np.sqrt(20_000))
        assert found.variance[i] == pytest.approx(z.var(), rel=0.06)
        low, high = Margins(found.mean[i : i + 1], found.variance[i : i + 1]).interval(0.8)
        assert np.mean((z > low) & (z < high)) == pytest.approx(0.8, abs=0.015)


def test_what_is_not_known_of_new_responses_adds_to_the_variance():
    known = np.arange(0, RESPONSES, 2)
    values = np.random.default_rng(2).standard_normal((len(known), RANK)).astype(np.float32)
    tau2 = np.array([0.5, 0.0, 2.0], np.float32)
    model = dataclasses.replace(
        MODEL,
        item_effects=ItemEffects(
            response_keys(TABLE[known]),
            jnp.asarray(values),
            jnp.asarray(tau2),
            jnp.zeros((len(values), 2)),
        ),
    )
    table = REWARDS.copy()
    table[known] += values
    prefs = pairs(2)
    found = margins(model, POSTERIOR, prefs)
    for i in range(PAIRS):
        ends, user = (prefs.chosen[i], prefs.rejected[i]), prefs.user[i]
        feature = table[ends[0]] - table[ends[1]]
        new = sum(end % 2 for end in ends)
        second = WEIGHTS[user] ** 2 + np.diag(COVARIANCE[user])
        assert found.mean[i] == pytest.approx(feature @ WEIGHTS[user], abs=1e-4)
        assert found.variance[i] == pytest.approx(
            feature @ COVARIANCE[user] @ feature + new * tau2 @ second, rel=1e-4
        )


def test_the_probit_approximation_against_quadrature():
    node, weight = np.polynomial.hermite_e.hermegauss(80)
    for mean in np.linspace(-6, 6, 25):
        for variance in (0.0, 0.1, 1.0, 4.0, 25.0):
            exact = np.sum(weight * expit(mean + np.sqrt(variance) * node)) / np.sqrt(2 * np.pi)
            found = Margins(np.array([mean]), np.array([variance])).probability[0]
            # The approximation itself is off by up to .019; without variance it is exact.
            assert found == pytest.approx(exact, abs=0.02 if variance else 1e-6)


def test_probability_is_drawn_to_one_half_by_what_is_not_known_and_keeps_its_side():
    found = Margins(np.full(4, 2.0), np.array([0.0, 1.0, 10.0, 1e6]))
    assert (np.diff(found.probability) < 0).all()
    assert found.probability[0] == pytest.approx(expit(2.0), abs=1e-6)
    assert found.probability[-1] == pytest.approx(0.5, abs=2e-3)
    np.testing.assert_allclose(np.exp(found.log_probability), found.probability, rtol=1e-6)
    # Where a probability underflows, its logarithm does not.
    hopeless = Margins(np.array([-200.0]), np.zeros(1))
    assert hopeless.log_probability[0] == pytest.approx(-200.0)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_intervals_are_those_of_a_normal_distribution(level):
    found = Margins(np.array([1.0, -2.0]), np.array([4.0, 0.0]))
    low, high = scipy.stats.norm(1.0, 2.0).interval(level)
    np.testing.assert_allclose(found.interval(level), [[low, -2.0], [high, -2.0]], atol=1e-4)


def test_a_margin_is_decided_where_a_normal_distribution_leaves_zero_out():
    mean, variance = (
        np.array([1.0, -1.0, 1.0, -3.0, 0.0, 0.2]),
        np.array([0.25, 0.25, 1.0, 1.0, 0.0, 0.0]),
    )
    found = Margins(mean, variance)
    for level in (0.5, 0.9, 0.99):
        wrong_side = scipy.stats.norm.cdf(-np.abs(mean) / np.sqrt(np.maximum(variance, 1e-12)))
        np.testing.assert_array_equal(found.decided(level), wrong_side < (1 - level) / 2)
    np.testing.assert_array_equal(found.decided(), [True, True, False, True, False, True])


@pytest.mark.parametrize("level", [0.0, 1.0, 90, float("nan")])
def test_a_level_that_is_no_probability_is_refused(level):
    found = Margins(np.zeros(2), np.ones(2))
    for ask in (found.interval, found.decided, lambda level: found.or_population(found, level)):
        with pytest.raises(
            ValueError, match=rf"level is {level}: a probability above 0 and below 1 is expected"
        ):
            ask(level)


def test_undecided_margins_fall_back_to_the_population():
    personal = Margins(np.array([1.0, -3.0, 0.5]), np.array([4.0, 1.0, 0.0]))
    population = Margins(np.array([-0.3, 0.4, 0.7]), np.array([0.1, 0.2, 0.3]))
    found = personal.or_population(population)
    np.testing.assert_array_equal(found.mean, [-0.3, -3.0, 0.5])
    np.testing.assert_array_equal(found.variance, [0.1, 1.0, 0.0])
    everything = personal.or_population(population, level=0.1)
    np.testing.assert_array_equal(everything.mean, personal.mean)
    with pytest.raises(ValueError, match="the population has 2 margins: 3 are expected"):
        personal.or_population(Margins(np.zeros(2), np.zeros(2)))


def test_without_shots_the_fall_back_is_the_margin_itself():
    prefs, population = pairs(5), population_posterior(MODEL, USERS)
    found = margins(MODEL, population, prefs)
    for got, expected in zip(found.or_population(found)[:2], found[:2], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_samples_have_the_moments_of_the_posterior():
    drawn = sample_weights(POSTERIOR, 40_000, key=jax.random.key(0))
    assert drawn.shape == (USERS, 40_000, RANK)
    assert drawn.dtype == np.float32
    for user in range(USERS):
        error = 5 * np.sqrt(np.diag(COVARIANCE[user]) / 40_000)
        assert (np.abs(drawn[user].mean(axis=0) - WEIGHTS[user]) < error).all()
        np.testing.assert_allclose(
            np.cov(drawn[user].T), COVARIANCE[user], atol=0.03 * np.trace(COVARIANCE[user])
        )
        # Users and draws are independent of each other.
        assert abs(np.corrcoef(drawn[user, 1:, 0], drawn[user, :-1, 0])[0, 1]) < 0.03
        assert abs(np.corrcoef(drawn[user, :, 0], drawn[user - 1, :, 0])[0, 1]) < 0.03


def test_samples_of_a_singular_covariance_stay_in_its_range():
    rng = np.random.default_rng(7)
    column = rng.standard_normal((4, 5, 2)).astype(np.float32)
    column[:, 0] = 0.0  # the population direction has no covariance
    weights = rng.standard_normal((4, 5)).astype(np.float32)
    posterior = Posterior(
        weights, column @ column.transpose(0, 2, 1), *(np.zeros(4) for _ in range(4))
    )
    away = sample_weights(posterior, 100, key=jax.random.key(1)) - weights[:, None]
    assert np.linalg.norm(away) > 10
    np.testing.assert_allclose(away[:, :, 0], 0.0, atol=1e-5)
    for user in range(4):
        inside = column[user] @ np.linalg.pinv(column[user])
        np.testing.assert_allclose(away[user] @ inside, away[user], atol=1e-4)


def test_samples_without_spread_are_the_weights():
    posterior = dataclasses.replace(POSTERIOR, covariance=np.zeros_like(COVARIANCE))
    drawn = sample_weights(posterior, 3, key=jax.random.key(2))
    np.testing.assert_array_equal(drawn, np.repeat(WEIGHTS[:, None], 3, axis=1))
    with pytest.raises(ValueError, match="count is 0: 1 or more is expected"):
        sample_weights(posterior, 0, key=jax.random.key(2))


def test_predict_proba_is_that_of_the_margins_and_of_the_population_without_shots():
    prefs = pairs(3)
    np.testing.assert_array_equal(
        predict_proba(MODEL, POSTERIOR, prefs), margins(MODEL, POSTERIOR, prefs).probability
    )
    population = population_posterior(MODEL, USERS)
    found = margins(MODEL, population, prefs)
    feature = REWARDS[prefs.chosen] - REWARDS[prefs.rejected]
    np.testing.assert_allclose(found.mean, feature.sum(1), atol=1e-5)
    np.testing.assert_allclose(found.variance, (feature**2).sum(1), rtol=1e-4, atol=1e-6)


def test_swapping_a_pair_swaps_its_probability():
    prefs = pairs(4)
    swapped = dataclasses.replace(prefs, chosen=prefs.rejected, rejected=prefs.chosen)
    both = predict_proba(MODEL, POSTERIOR, prefs) + predict_proba(MODEL, POSTERIOR, swapped)
    np.testing.assert_allclose(both, 1.0, atol=1e-6)


def test_no_pairs():
    assert predict_proba(MODEL, POSTERIOR, pairs(0, 0)).shape == (0,)


def test_other_users_are_refused():
    with pytest.raises(ValueError, match="the posterior has 2 users, the preferences have 5"):
        margins(MODEL, POSTERIOR.take(np.arange(2)), pairs())
