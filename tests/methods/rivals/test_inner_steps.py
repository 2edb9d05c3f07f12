"""Inner steps by finite differences of the loss; a prior that takes them."""

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.methods.rivals.inner_steps import INNER_STEPS, InnerStepsPrior, inner_steps


def test_steps_follow_the_slope_of_the_mean_loss():
    rng = np.random.default_rng(0)
    features, weight = rng.normal(size=(3, 5)), np.array([1.0, 2.0, 0.5, 1.0, 0.0])

    def loss(logits):
        mix = np.exp(logits) / np.exp(logits).sum()
        return weight @ np.logaddexp(0.0, -mix @ features) / weight.sum()

    logits = np.array([0.2, -0.1, 0.0])
    start = logits.copy()
    for _ in range(INNER_STEPS):
        ends = [(loss(logits + e) - loss(logits - e)) / 2e-6 for e in 1e-6 * np.eye(3)]
        logits = logits - 1.5 * np.array(ends)
    arrays = (jnp.asarray(x, jnp.float32) for x in (start, 1.5, features, weight))
    np.testing.assert_allclose(inner_steps(*arrays), logits, atol=1e-5)


def test_the_prior_has_no_use_for_a_start():
    prior = InnerStepsPrior(jnp.ones(1), jnp.zeros(1), jnp.ones(()))
    with pytest.raises(ValueError, match="start must be None"):
        prior.solve(jnp.ones((1, 2)), jnp.ones(2), jnp.ones(1))
