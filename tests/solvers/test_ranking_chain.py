"""Rankings by neighbours against rankings by pairs, which enumeration and scipy have checked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from answers import pair_margins

from lore_jax.solvers.lapse import Lapse
from lore_jax.solvers.likelihood import LOGISTIC, largest_move, newton_sums
from lore_jax.solvers.newton import map_estimate
from lore_jax.solvers.ranking_chain import RankingChain
from lore_jax.solvers.rankings import Ranking, pairs_of
from lore_jax.solvers.segments import Segments

KINDS = [(2, 1, False), (4, 3, False), (4, 1, False), (5, 2, False), (4, 1, True), (5, 1, True)]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def features_of(items):
    """`[answers, k, columns, users]` -> `[columns, entries, users]`, of neighbours and pairs."""
    k, columns = items.shape[1], items.shape[2]
    left, right = np.array(pairs_of(k)).T
    return [
        jnp.asarray(np.moveaxis(apart, 2, 0).reshape(columns, -1, *items.shape[3:]))
        for apart in (items[:, :-1] - items[:, 1:], items[:, left] - items[:, right])
    ]


@each_kind
def test_gradient_and_hessian_are_those_of_the_pairs(kind):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        chain, pairs = features_of(rng.standard_normal((19, kind[0], 3, 2)))  # more than one block
        weights = jnp.asarray(rng.standard_normal((3, 2)))
        counts = jnp.asarray(rng.uniform(0.5, 2.0, (19, 2)))
        found, expected = [
            newton_sums(
                likelihood,
                features,
                jnp.einsum("kiu,ku->iu", features, weights),
                jnp.repeat(counts, features.shape[1] // 19, axis=0),
            )
            for likelihood, features in ((RankingChain(*kind), chain), (Ranking(*kind), pairs))
        ]
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-9)


@each_kind
def test_losses_slopes_and_moves_are_those_of_the_pairs(kind):
    rewards = 3.0 * np.random.default_rng(1).standard_normal(kind[0])
    chain, pairs = RankingChain(*kind), Ranking(*kind)
    with jax.enable_x64(True):
        margin, every = jnp.asarray(-np.diff(rewards)), jnp.asarray(pair_margins(rewards))
        loss = jnp.sum(chain.loss(margin))
        np.testing.assert_allclose(loss, jnp.sum(pairs.loss(every)), atol=1e-9)
        by_grad = jax.grad(lambda margin: jnp.sum(chain.loss(margin)))(margin)
        np.testing.assert_allclose(chain.slope(margin), by_grad, atol=1e-9)
        assert float(chain.move(margin)) == pytest.approx(float(largest_move(pairs, every)))
        hessian = jax.hessian(lambda margin: jnp.sum(chain.loss(margin)))(margin)
        assert np.linalg.eigvalsh(hessian).max() <= chain.ceiling


@each_kind
def test_the_mode_is_that_of_the_pairs_beside_other_answers(kind):
    rng = np.random.default_rng(2)
    items = rng.standard_normal((3, kind[0], 2, 2)).astype(np.float32)
    items[..., 1] = -np.sort(-items[..., 1], axis=1)  # the second user's are separable
    beside = jnp.asarray(rng.standard_normal((2, 4, 2)), jnp.float32)
    found = []
    for likelihood, own in zip((RankingChain, Ranking), features_of(items), strict=True):
        features = jnp.concatenate([beside, own], axis=1)
        entries = features.shape[1:]
        parts = Segments((LOGISTIC, likelihood(*kind)), (4, own.shape[1]))
        nothing = jnp.zeros(entries), jnp.ones(entries), jnp.zeros((2, 2))
        found.append(map_estimate(features, *nothing, likelihood=parts))
    assert np.asarray(found[0].converged).all()
    np.testing.assert_allclose(found[0].deviation, found[1].deviation, atol=1e-5)
    np.testing.assert_allclose(found[0].covariance, found[1].covariance, atol=1e-4)
    assert np.asarray(found[0].steps).max() <= np.asarray(found[1].steps).max() + 1


def test_it_is_finite_far_out():
    for rewards in ([-300.0, 0.0, 500.0, 1000.0], [1000.0, 500.0, 0.0, -300.0]):
        margin = -jnp.diff(jnp.asarray(rewards))
        for kind in (RankingChain(4, 3), RankingChain(4, 1, worst=True)):
            assert np.isfinite(kind.loss(margin)).all()
            assert np.isfinite(kind.slope(margin)).all()
            gradient, hessian = kind.sums(jnp.eye(3), margin, jnp.ones(3))
            assert np.isfinite(gradient).all()
            assert np.isfinite(hessian).all()


def test_a_stretch_without_concordance_leaves_the_whole_without():
    parts = RankingChain(3, 2), Lapse(LOGISTIC, jnp.array(0.1), 2)
    assert Segments(parts, (2, 1)).concordance is None
