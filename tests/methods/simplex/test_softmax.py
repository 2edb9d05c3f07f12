"""Adam on logits, as published, against the optimum and a NumPy transcription."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, softmax
from simplex_transcription import Adam

from lore_jax.methods.simplex.softmax import adam_logits, loss_and_gradients, weights_of
from lore_jax.solvers.interior_point import simplex_estimate
from lore_jax.solvers.likelihood import LOGISTIC


def test_adams_500_steps_come_near_the_optimum_and_never_below():
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(4, 10, 20)), jnp.float32)
    weight = jnp.asarray(rng.random((10, 20)) < 0.7, jnp.float32).at[:, 0].set(0.0)
    logits = jnp.asarray(rng.normal(size=(4, 20)), jnp.float32)

    def losses(weights):
        margin = np.einsum(
            "rsu,ru->su", np.asarray(features, np.float64), np.asarray(weights, np.float64)
        )
        return np.sum(np.asarray(weight) * np.log1p(np.exp(-margin)), axis=0) / np.maximum(
            weight.sum(axis=0), 1
        )

    by_adam = jax.jit(adam_logits)(features, weight, logits)
    optimum = losses(jax.jit(simplex_estimate)(features, weight).weights)
    excess = losses(by_adam) - optimum
    assert np.all(excess > -2e-6)
    assert np.all(excess < 0.02)
    np.testing.assert_allclose(
        by_adam[:, 0], softmax(logits[:, 0]), atol=1e-6
    )  # no shots: where it began
    # A user alone is the same user among others.
    np.testing.assert_allclose(
        adam_logits(features[..., 1], weight[:, 1], logits[:, 1], steps=20),
        adam_logits(features, weight, logits, steps=20)[:, 1],
        atol=1e-5,
    )


def test_adams_steps_equal_the_transcription():
    rng = np.random.default_rng(1)
    features, weight = (
        rng.normal(size=(3, 6)).astype(np.float32),
        rng.uniform(0.5, 2.0, 6).astype(np.float32),
    )
    logits, adam = rng.normal(size=3), Adam(0.1)
    result = adam_logits(
        jnp.asarray(features), jnp.asarray(weight), jnp.asarray(logits, jnp.float32), steps=20
    )
    for _ in range(20):
        weights = softmax(logits)
        slope = features @ (-weight / weight.sum() * expit(-weights @ features))
        logits = adam(logits, weights * (slope - weights @ slope))
    np.testing.assert_allclose(result, softmax(logits), atol=1e-5)


def test_columns_out_of_use_weigh_nothing():
    logits = jnp.array([[9.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    weights = weights_of(logits, jnp.array([0.0, 1.0, 1.0]))
    np.testing.assert_allclose(weights, [[0.0, 0.0], [0.5, 0.5], [0.5, 0.5]], atol=1e-6)


def test_the_gradients_written_out_are_those_of_differentiation():
    rng = np.random.default_rng(2)
    features = jnp.asarray(rng.normal(size=(3, 6, 4)), jnp.float32)
    share = jnp.asarray(rng.uniform(size=(6, 4)), jnp.float32)
    logits, columns = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), jnp.array([1.0, 0.0, 1.0])

    def loss(features, logits):
        weights = weights_of(logits, columns)
        return jnp.sum(share * LOGISTIC.loss(jnp.sum(features * weights[:, None], axis=0)))

    got = loss_and_gradients(features, share, logits, columns, LOGISTIC)
    value, gradients = jax.value_and_grad(loss, (0, 1))(features, logits)
    for one, other in zip(got, (value, *gradients), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
