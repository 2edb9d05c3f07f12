import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.solvers.cholesky import cholesky, inverse, solve

SIZES = [1, 2, 3, 10, 12, 30]


def positive_definite(n, users, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, n + 3, *users))
    outer = np.einsum("ak...,bk...->ab...", root, root)
    return jnp.asarray(outer + np.eye(n).reshape(n, n, *[1] * len(users)), jnp.float32)


def users_first(array, n_axes):
    """Trailing users to the front, as numpy.linalg wants them."""
    return np.moveaxis(np.asarray(array, np.float64), range(n_axes), range(-n_axes, 0))


@pytest.mark.parametrize(
    ("n", "users"), [*((n, (5,)) for n in SIZES), (3, ()), (3, (2, 3)), (12, ()), (12, (2, 3))]
)
def test_against_numpy(n, users):
    matrix = positive_definite(n, users)
    right = np.random.default_rng(1).standard_normal((n, *users)).astype(np.float32)
    lower = jax.jit(cholesky)(matrix)
    assert lower.shape == matrix.shape
    truth = users_first(matrix, 2)
    np.testing.assert_allclose(users_first(lower, 2), np.linalg.cholesky(truth), atol=2e-5 * n)
    expected = np.linalg.solve(truth, users_first(right, 1)[..., None])[..., 0]
    np.testing.assert_allclose(users_first(jax.jit(solve)(lower, right), 1), expected, atol=2e-5)
    np.testing.assert_allclose(
        users_first(jax.jit(inverse)(lower), 2), np.linalg.inv(truth), atol=2e-5
    )


@pytest.mark.parametrize("n", SIZES)
def test_only_the_lower_triangle_is_read(n):
    matrix = positive_definite(n, (4,))
    garbled = matrix + 7.0 * jnp.triu(jnp.ones((n, n)), 1)[..., None]
    np.testing.assert_array_equal(cholesky(garbled), cholesky(matrix))
    assert (np.asarray(cholesky(matrix))[np.triu_indices(n, 1)] == 0).all()


@pytest.mark.parametrize("n", [3, 12])
def test_one_bad_user_leaves_the_others_alone(n):
    matrix = positive_definite(n, (4,))
    bad = matrix.at[..., 1].set(-jnp.eye(n)).at[0, 0, 2].set(jnp.nan)
    for least in (None, jnp.full((n, 4), 1e-3)):
        lower, expected = (
            np.asarray(cholesky(bad, least=least)),
            np.asarray(cholesky(matrix, least=least)),
        )
        np.testing.assert_array_equal(lower[..., [0, 3]], expected[..., [0, 3]])
        assert np.isnan(lower[..., 2]).any()  # a NaN is never repaired
        assert np.isnan(lower[..., 1]).any() == (least is None)


@pytest.mark.parametrize("n", [2, 8, 12])
def test_a_small_diagonal_beside_a_large_rest_is_kept(n):
    # f f' is 1e9 and the diagonal 1: float32 has lost the diagonal, and pivots come out as rounding
    # of either sign.
    feature = 1e4 * np.random.default_rng(0).standard_normal((n, 200))
    matrix = jnp.asarray(feature[:, None] * feature[None] + np.eye(n)[..., None], jnp.float32)
    assert np.isnan(cholesky(matrix)).any()
    lower = cholesky(matrix, least=jnp.ones((n, 200)))
    covariance = np.asarray(inverse(lower), np.float64)
    # The truth (Sherman and Morrison) is I - f f' / (1 + |f|^2): nothing along f, and n - 1 in all
    # across it.
    along = np.einsum("au,abu,bu->u", feature, covariance, feature) / np.sum(feature**2, axis=0)
    assert (along < 1e-6).all()
    across = np.trace(covariance)
    assert np.isfinite(across).all()
    np.testing.assert_allclose(np.median(across), n - 1, rtol=0.5)


def test_least_changes_nothing_where_nothing_is_lost():
    matrix = positive_definite(6, (50,))
    np.testing.assert_array_equal(cholesky(matrix, least=jnp.ones((6, 50))), cholesky(matrix))
