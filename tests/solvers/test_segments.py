"""Mixed answers of one user: the sum of the parts, and an optimum of scipy."""

import jax.numpy as jnp
import numpy as np
from answers import log_level, log_ranking, optimum
from scipy.special import log_expit

from lore_jax.solvers.lapse import Lapse
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.solvers.newton import map_estimate
from lore_jax.solvers.ordinal import cumulative_logit
from lore_jax.solvers.rankings import Ranking, pairs_of
from lore_jax.solvers.segments import Segments


def test_pairs_strengths_and_a_ranking_together():
    rng, cuts = np.random.default_rng(0), np.array([-1.0, 1.0])
    pairs, strengths = rng.standard_normal((2, 4, 2))
    items, level = rng.standard_normal((3, 2)), np.array([0, 1, 2, 2])
    of_ranking = np.stack([items[a] - items[b] for a, b in pairs_of(3)])
    features = np.concatenate([pairs, strengths, of_ranking]).T
    levels = cumulative_logit(jnp.asarray(level), jnp.asarray(cuts, jnp.float32))
    likelihood = Segments((LOGISTIC, levels, Ranking(3, 2)), (4, 4, 3))
    assert (likelihood.concordance, likelihood.ceiling) == (1.0, 0.5)
    found = map_estimate(
        jnp.asarray(features, jnp.float32),
        jnp.zeros(11),
        jnp.ones(11),
        jnp.zeros(2),
        likelihood=likelihood,
    )

    def log_probability(d):
        return (
            log_expit(pairs @ d).sum()
            + log_level(strengths @ d, level, cuts).sum()
            + log_ranking(items @ d, 2)
        )

    mode, covariance = optimum(log_probability, 2)
    assert bool(found.converged)
    np.testing.assert_allclose(found.deviation, mode, atol=1e-4)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-3)
    predicted = likelihood.predictive(jnp.zeros(11), jnp.zeros(11))
    np.testing.assert_allclose(predicted, -likelihood.loss(jnp.zeros(11)), atol=1e-3)


def test_a_part_without_concordance_leaves_the_sum_without():
    parts = LOGISTIC, Lapse(LOGISTIC, jnp.array(0.1), 2)
    assert Segments(parts, (1, 1)).concordance is None
