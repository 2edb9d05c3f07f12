import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.model.mean_prior import GaussianMeanPrior, MixtureMeanPrior, by_mean
from lore_jax.model.prior import GaussianPrior, MixturePrior, SimplexPrior
from lore_jax.solvers.mixture import one_component
from lore_jax.solvers.variational import mean_estimate

MEAN, FACTOR = jnp.array([1.0, 0.5, -0.5]), jnp.array([[0.0, 0.0], [2.0, 0.0], [0.5, 1.0]])
GAUSSIAN = GaussianPrior(MEAN, FACTOR)
MIXTURE = MixturePrior(MEAN, FACTOR, one_component(2, 2))
FEATURES = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


@pytest.mark.parametrize("prior", [GAUSSIAN, MIXTURE])
def test_means_in_the_weights_are_those_of_deviations(prior):
    along = jnp.moveaxis(prior.project(jnp.asarray(FEATURES)), -1, 0)
    found = jax.jit(lambda prior: prior.solve(along, jnp.ones(5)))(by_mean(prior))
    expected = jax.jit(mean_estimate)(
        FACTOR.T @ FEATURES.T, FEATURES @ MEAN, jnp.ones(5), jnp.zeros(2)
    )
    np.testing.assert_allclose(found.weights, MEAN + FACTOR @ expected.deviation, atol=1e-5)
    covariance = FACTOR @ expected.covariance @ FACTOR.T
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-5)


def test_each_prior_has_its_own_kind_and_others_stay():
    assert type(by_mean(GAUSSIAN)) is GaussianMeanPrior
    assert type(by_mean(MIXTURE)) is MixtureMeanPrior
    simplex = SimplexPrior(jnp.array([0.5, 0.5]))
    assert by_mean(simplex) is simplex
    alone = by_mean(GaussianPrior(jnp.ones(1), jnp.zeros((1, 0))))
    assert alone.solve(jnp.ones((1, 4)), jnp.ones(4)).weights.tolist() == [1.0]
