"""The gradient that is written out, against differentiation of the surrogate it belongs to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.methods.gaussian.expected_loss import expected_loss
from lore_jax.solvers.likelihood import LOGISTIC


def surrogate(features, weight, mean, covariance):
    """`sum of loss(z) + loss''(z~) f' S f / 2`, z~ at the mode as the features move it."""
    offset, along = features[0], features[1:]
    margin = offset + jnp.einsum("aiu,au->iu", along, mean)
    pull = jnp.einsum("aiu,iu->au", along, -weight * LOGISTIC.slope(margin)) - mean
    step = jnp.einsum("abu,bu->au", covariance, pull)
    moved = margin + jnp.einsum("aiu,au->iu", along, step - jax.lax.stop_gradient(step))
    variance = jnp.einsum("aiu,abu,biu->iu", along, covariance, along)
    return jnp.sum(weight * (LOGISTIC.loss(margin) + 0.5 * LOGISTIC.curvature(moved) * variance))


@pytest.mark.parametrize("k", [0, 1, 4])
def test_loss_and_gradient_are_those_of_the_surrogate(k):
    rng = np.random.default_rng(k)
    shots, users = 21, 7
    features = jnp.asarray(rng.normal(size=(k + 1, shots, users)), jnp.float32)
    weight = jnp.asarray(rng.random((shots, users)), jnp.float32)
    mean = jnp.asarray(rng.normal(size=(k, users)), jnp.float32)
    factor = rng.normal(size=(k, k, users))
    covariance = jnp.asarray(np.einsum("acu,bcu->abu", factor, factor), jnp.float32)
    loss, gradient = expected_loss(features, weight, mean, covariance, LOGISTIC)
    expected, slope = jax.value_and_grad(surrogate)(features, weight, mean, covariance)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-4)
