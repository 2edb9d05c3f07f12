"""The dual mode against scipy on the direction itself; sweeps against an inverse."""

import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from lore_jax.solvers.dual import dual_mode, inverse, own_margins, pair_kernel


def test_the_mode_and_its_margins_are_those_of_the_direction():
    rng, tau = np.random.default_rng(0), 1.3
    table = rng.normal(size=(9, 5)).astype(np.float32)
    pairs = rng.integers(0, 9, size=(2, 12))
    x = table[pairs[0]] - table[pairs[1]]
    offset = rng.normal(size=12).astype(np.float32)
    weight = np.r_[rng.uniform(0.5, 2.0, size=10), 0.0, 0.0].astype(np.float32)

    def objective(d):
        margin = offset + x @ d
        return weight @ np.logaddexp(0.0, -margin) + 0.5 * d @ d / tau**2

    d = minimize(objective, np.zeros(5), tol=1e-10).x
    lost = 1.0 / (1.0 + np.exp(offset + x @ d))
    hessian = x.T @ ((weight * lost * (1.0 - lost))[:, None] * x) + np.eye(5) / tau**2
    sides = jnp.asarray(pairs[0]), jnp.asarray(pairs[1])
    kernel = tau**2 * pair_kernel(jnp.asarray(table @ table.T), sides, sides)
    np.testing.assert_allclose(kernel, tau**2 * x @ x.T, atol=1e-4)
    mode = dual_mode(kernel, jnp.asarray(offset), jnp.asarray(weight))
    mean, variance = own_margins(mode, kernel, jnp.diagonal(kernel))
    np.testing.assert_allclose(mean, x @ d, atol=5e-3)
    expected = np.einsum("ij,ij->i", x @ np.linalg.inv(hessian), x)
    np.testing.assert_allclose(variance, expected, rtol=5e-3, atol=1e-4)


def test_the_inverse_by_sweeps():
    root = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    matrix = np.eye(7, dtype=np.float32) + root @ root.T
    np.testing.assert_allclose(inverse(jnp.asarray(matrix)), np.linalg.inv(matrix), atol=1e-5)
