import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.model import basis_posterior
from lore_jax.model.basis_posterior import (
    BasisPosterior,
    response_uncertainty,
    variance_of_differences,
)

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(9, 5)).astype(np.float32)
SCALE = 1.5


def posterior(q):
    # all axes are the coordinates themselves
    axes = np.eye(5) if q == 5 else np.linalg.qr(RNG.normal(size=(5, q)))[0]
    factor = RNG.normal(size=(2, q, q))
    return BasisPosterior(*(jnp.asarray(x, jnp.float32) for x in (axes, factor, [0.3, 0.7])))


@pytest.mark.parametrize("q", [2, 5])
def test_rewards_covary_as_the_columns_do(q):
    known = posterior(q)
    uncertain = response_uncertainty(known, jnp.asarray(TABLE), jnp.float32(SCALE))
    axes = np.asarray(known.axes, np.float64)
    outside = np.eye(5) - axes @ axes.T
    for kind in range(2):
        factor = np.asarray(known.factor[kind], np.float64)
        inside = axes @ factor @ factor.T @ axes.T
        rows = TABLE / SCALE
        shared = np.asarray(uncertain.coordinates[kind])
        np.testing.assert_allclose(shared @ shared.T, rows @ inside @ rows.T, atol=1e-4)
        alone = np.diag(rows @ outside @ rows.T) * float(known.rest[kind])
        np.testing.assert_allclose(uncertain.variance[:, kind], alone, atol=1e-4)


@pytest.mark.parametrize("most_rows", [4096, 1])  # with the responses' covariance, and without
def test_the_variance_of_a_difference_is_that_of_the_coordinates(most_rows, monkeypatch):
    monkeypatch.setattr(basis_posterior, "_MOST_ROWS", most_rows)
    chosen, rejected = RNG.integers(9, size=(2, 3, 4))
    expected = np.sum((TABLE[chosen] - TABLE[rejected]) ** 2, axis=-1)
    found = jax.jit(lambda *args: variance_of_differences(*args))(TABLE, chosen, rejected)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
