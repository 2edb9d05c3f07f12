import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.solvers.pair_sums import combine, pull_together, quadratic_form, sums_over_pairs

K = 4


@pytest.mark.parametrize("users", [(), (3,), (2, 5)])
@pytest.mark.parametrize(
    "shots", [0, 1, 7, 16, 45]
)  # unrolled; a loop; a loop and what it leaves over
def test_sums_are_those_of_einsum(shots, users):
    rng = np.random.default_rng(15)
    features, weights = rng.standard_normal((K, shots, *users)), rng.standard_normal((K, *users))
    pull, curvature = rng.standard_normal((shots, *users)), rng.random((shots, *users))
    root = rng.standard_normal((K, K, *users))
    covariance = np.einsum("ac...,bc...->ab...", root, root)
    on_device = [
        jnp.asarray(x, jnp.float32) for x in (features, weights, pull, curvature, covariance)
    ]

    def check(found, subscripts, *arrays):
        np.testing.assert_allclose(found, np.einsum(subscripts, *arrays), rtol=1e-5, atol=3e-5)

    check(combine(on_device[0], on_device[1]), "as...,a...->s...", features, weights)
    check(pull_together(on_device[0], on_device[2]), "as...,s...->a...", features, pull)
    gradient, hessian = sums_over_pairs(on_device[0], on_device[2], on_device[3])
    check(gradient, "as...,s...->a...", features, pull)
    lower = np.tril(np.ones((K, K)))
    check(hessian, "as...,s...,bs...,ab->ab...", features, curvature, features, lower)
    check(
        quadratic_form(on_device[0], on_device[4]),
        "as...,ab...,bs...->s...",
        features,
        covariance,
        features,
    )
