"""Products, norms and activations against NumPy in float64."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.embed.transformer.layers import (
    Parameter,
    activate,
    dense,
    layer_norm,
    rms_norm,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 8)).astype(np.float32)
WEIGHT, BIAS = RNG.normal(size=(2, 8)).astype(np.float32)


def test_dense():
    matrix, bias = RNG.normal(size=(3, 8)).astype(np.float32), np.arange(3, dtype=np.float32)
    arrays = [jnp.asarray(array) for array in (X, matrix, bias)]
    np.testing.assert_allclose(dense(*arrays[:2]), X @ matrix.T, atol=1e-5)
    np.testing.assert_allclose(dense(*arrays), X @ matrix.T + bias, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_norms(dtype):
    x = jnp.asarray(X, dtype)
    x64 = np.asarray(x, np.float64)
    atol = 1e-5 if dtype == jnp.float32 else 0.04  # half a unit in the last place of values near 8
    root = np.sqrt((x64**2).mean(-1, keepdims=True) + 1e-3)
    normed = rms_norm(x, jnp.asarray(WEIGHT), 1e-3, 1.0)
    assert normed.dtype == dtype
    np.testing.assert_allclose(normed.astype(np.float32), x64 / root * (1 + WEIGHT), atol=atol)
    centred = x64 - x64.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)
    normed = layer_norm(x, jnp.asarray(WEIGHT), jnp.asarray(BIAS), 1e-3)
    assert normed.dtype == dtype
    np.testing.assert_allclose(normed.astype(np.float32), scaled * WEIGHT + BIAS, atol=atol)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gelu", lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))),
        (
            "gelu_tanh",
            lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        ),
        ("silu", lambda x: x / (1 + math.exp(-x))),
        ("relu", lambda x: max(x, 0.0)),
    ],
)
def test_activations(name, expected):
    np.testing.assert_allclose(
        activate(jnp.asarray(X), name), np.vectorize(expected)(X.astype(np.float64)), atol=1e-6
    )


def test_parameters_of_a_layer_are_stacked():
    assert Parameter("layers.{}.up", (3, 4)).is_layered
    assert not Parameter("norm", (3,)).is_layered
