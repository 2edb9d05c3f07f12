"""Bases: the formulas in NumPy, the width they take, and the changes that fits make to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from lore_jax.model.basis import (
    LinearBasis,
    MLPBasis,
    input_width,
    make_basis,
    rescaled,
    take_columns,
)

DIM = 6
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((9, DIM)).astype(np.float32)


def params_of(basis):
    return dict(basis.init(jax.random.key(0), jnp.ones((1, DIM)), 1.0)["params"])


def apply(basis, params, scale=1.0, table=TABLE):
    return np.asarray(basis.apply({"params": params}, table, scale))


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_a_linear_basis_against_numpy(rank):
    basis = LinearBasis(rank)
    params = params_of(basis)
    expected = TABLE.astype(np.float64) @ np.asarray(params["V"], np.float64) / 2.5
    found = apply(basis, params, 2.5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    half = apply(basis, params, 2.5, TABLE.astype(np.float16))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, expected, atol=5e-3)


def test_hidden_layers_against_numpy():
    basis = MLPBasis(2, hidden=(7, 5))
    params = params_of(basis)
    layer = TABLE.astype(np.float64) * DIM**0.5 / 2.5
    for name in ("Dense_0", "Dense_1"):
        weights = {key: np.asarray(leaf, np.float64) for key, leaf in params[name].items()}
        layer = layer @ weights["kernel"] + weights["bias"]
        layer = layer * 0.5 * (1 + erf(layer / np.sqrt(2)))
    expected = layer @ np.asarray(params["V"], np.float64)
    np.testing.assert_allclose(apply(basis, params, 2.5), expected, atol=2e-3)  # gelu by tanh


def test_the_start_has_the_scale_asked_for():
    for scale in (0.1, 2.0):
        linear = LinearBasis(50, init_scale=scale).init(jax.random.key(0), jnp.ones((1, 200)), 1.0)[
            "params"
        ]["V"]
        assert float(jnp.std(linear)) == pytest.approx(scale, rel=0.05)
        last = MLPBasis(50, (64,), scale).init(jax.random.key(0), jnp.ones((1, 9)), 1.0)["params"]
        assert float(jnp.std(last["V"])) == pytest.approx(scale / 8, rel=0.1)


def test_make_basis_and_the_width_it_takes():
    assert make_basis(3) == LinearBasis(3)
    assert make_basis(3, (8, 4)) == MLPBasis(3, (8, 4))
    for basis in (make_basis(3), make_basis(3, (8,)), make_basis(3, (8, 4))):
        assert input_width(params_of(basis)) == DIM


@pytest.mark.parametrize("basis", [LinearBasis(4), MLPBasis(4, (8,))], ids=["linear", "mlp"])
def test_changes_to_the_parameters_are_changes_to_the_rewards(basis):
    params = params_of(basis)
    rewards = apply(basis, params)
    np.testing.assert_allclose(
        apply(basis, rescaled(params, 1.5)), 1.5 * rewards, rtol=1e-5, atol=1e-6
    )
    columns = np.array([2, 0])
    fewer = take_columns(params, columns)
    np.testing.assert_allclose(
        apply(basis.clone(rank=2), fewer), rewards[:, columns], rtol=1e-5, atol=1e-6
    )
    assert params["V"].shape[1] == 4  # the parameters given stay
