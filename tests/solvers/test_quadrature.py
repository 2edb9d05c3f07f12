"""Probabilities under an uncertain margin against integrals of scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from lore_jax.solvers.quadrature import log_expected_probability, normal_lattice


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0, 5.0])
def test_a_sigmoid_is_integrated(spread):
    mean = np.array([-3.0, 0.0, 1.0, 4.0], np.float32)
    found = log_expected_probability(
        lambda z: jax.nn.softplus(-z), jnp.asarray(mean), jnp.full(4, spread**2)
    )
    expected = [quad(lambda x, m=m: expit(m + spread * x) * norm.pdf(x), -8, 8)[0] for m in mean]
    np.testing.assert_allclose(np.exp(found), expected, atol=3e-3)


def test_the_lattice_has_the_moments_of_a_gaussian():
    for dim in (1, 3, 7):
        points = normal_lattice(dim)
        np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=1e-6)
        np.testing.assert_allclose(points.T @ points / len(points), np.eye(dim), atol=1e-5)
        assert normal_lattice(dim) is points
