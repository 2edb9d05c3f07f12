"""A user's vector against scikit-learn and scipy; no shots, and NaN."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from lore_jax.methods.rivals.user_vector import fit_vector


def test_linear_margins_give_logistic_regression():
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(30, 4)), rng.uniform(0.0, 2.0, 30)
    got = fit_vector(lambda d: jnp.asarray(x, jnp.float32) @ d, jnp.float32(weight), 4, 0.7)
    # Half of each pair is stated the other way round, or there would be one class.
    model = LogisticRegression(C=0.7**2, fit_intercept=False, tol=1e-10)
    model.fit(np.vstack([x, -x]), np.repeat([1, 0], 30), np.tile(weight / 2, 2))
    np.testing.assert_allclose(got, model.coef_[0], atol=1e-4)


def test_curved_margins_reach_a_minimum():
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(30, 3)), np.ones(30)

    def objective(d):
        z = np.tanh(x @ d) * 2.0
        return np.sum(np.logaddexp(0.0, -z)) + 0.5 * np.sum(d**2)

    got = fit_vector(
        lambda d: 2.0 * jnp.tanh(jnp.float32(x) @ d), jnp.float32(weight), 3, 1.0, steps=20
    )
    best = minimize(objective, np.zeros(3))
    assert objective(np.asarray(got, np.float64)) < best.fun + 1e-4


def test_without_shots_it_is_the_generic_user_and_a_nan_stays():
    x = jnp.ones((4, 2))
    assert not np.any(fit_vector(lambda d: x @ d + 1.0, jnp.zeros(4), 2, 1.0))
    assert np.isnan(fit_vector(lambda d: x @ d * jnp.nan, jnp.ones(4), 2, 1.0)).all()


def test_users_alone_and_together_are_the_same():
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.normal(size=(5, 6, 3)), jnp.float32)
    weight = jnp.asarray(rng.uniform(size=(5, 6)), jnp.float32)
    one = jax.jit(lambda x, weight: fit_vector(lambda d: x @ d, weight, 3, 1.0))
    together = jax.vmap(one)(x, weight)
    for user in range(5):
        np.testing.assert_allclose(one(x[user], weight[user]), together[user], atol=1e-5)
