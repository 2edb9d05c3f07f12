"""Rankings, choices and best-worst choices against enumeration, differences and scipy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from answers import log_ranking, optimum, pair_margins

from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.solvers.newton import map_estimate
from lore_jax.solvers.rankings import Ranking, pairs_of

KINDS = {
    "ranking of 4": Ranking(4, 3),
    "choice of 4": Ranking(4, 1),
    "first two of 5": Ranking(5, 2),
    "best and worst of 4": Ranking(4, 1, worst=True),
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def single(array):
    return jnp.asarray(array, jnp.float32)


def test_two_responses_are_a_pair():
    margin = jnp.linspace(-5, 5, 11)
    for kind in (Ranking(2, 1), Ranking(2, 2), Ranking(2, 1, worst=True)):
        for name in ("loss", "slope", "curvature"):
            found = getattr(kind, name)(margin)
            np.testing.assert_allclose(found, getattr(LOGISTIC, name)(margin), atol=1e-6)


@each_kind
def test_probabilities_are_those_of_the_definition_and_add_up_to_one(kind):
    rewards, total = np.random.default_rng(0).standard_normal(kind.num_items), {}
    for order in itertools.permutations(range(kind.num_items)):
        own = rewards[list(order)]
        found = -float(jnp.sum(kind.loss(single(pair_margins(own)))))
        assert found == pytest.approx(log_ranking(own, kind.places, kind.worst), abs=1e-5)
        said = order[: kind.places] + (order[-1:] if kind.worst else ())
        total[said] = np.exp(found)
    assert sum(total.values()) == pytest.approx(1.0, abs=1e-5)


@each_kind
def test_all_orders_at_once_have_the_probability_of_each(kind):
    rewards = 3.0 * np.random.default_rng(5).standard_normal((3, kind.num_items))
    orders = np.array(list(itertools.permutations(range(kind.num_items))))[::7]
    found = kind.of_orders(single(rewards.T), orders)
    for row, own in zip(found.T, rewards, strict=True):
        expected = [log_ranking(own[order], kind.places, kind.worst) for order in orders]
        np.testing.assert_allclose(row, expected, atol=1e-4)


@each_kind
def test_gradient_and_hessian_in_the_rewards_are_those_of_the_definition(kind):
    k, rng = kind.num_items, np.random.default_rng(1)
    rewards = rng.standard_normal(k)
    with jax.enable_x64(True):
        margin = jnp.asarray(pair_margins(rewards))
        slope, curvature = np.asarray(kind.slope(margin)), np.asarray(kind.curvature(margin))
    gradient, hessian, step = np.zeros(k), np.zeros((k, k)), 1e-4
    for number, (a, b) in enumerate(pairs_of(k)):
        apart = np.eye(k)[a] - np.eye(k)[b]
        gradient += slope[number] * apart
        hessian += curvature[number] * np.outer(apart, apart)

    def loss(values):
        return -log_ranking(values, kind.places, kind.worst)

    for i, j in itertools.product(range(k), repeat=2):
        ei, ej = step * np.eye(k)[i], step * np.eye(k)[j]
        assert gradient[i] == pytest.approx(
            (loss(rewards + ei) - loss(rewards - ei)) / 2e-4, abs=1e-6
        )
        corners = [(s, t, loss(rewards + s * ei + t * ej)) for s in (1, -1) for t in (1, -1)]
        expected = sum(s * t * value for s, t, value in corners) / (4 * step**2)
        assert hessian[i, j] == pytest.approx(expected, abs=1e-6)
    assert (curvature >= 0).all()
    assert curvature.max() <= kind.ceiling


@each_kind
def test_the_third_derivative_along_a_line_is_bounded_by_the_second(kind):
    rng, step = np.random.default_rng(2), 1e-3
    for _ in range(20):
        rewards, along = rng.standard_normal((2, kind.num_items)) * [[3.0], [1.0]]
        moves = pair_margins(along)

        def second(share, rewards=rewards, along=along, moves=moves):
            with jax.enable_x64(True):
                margin = jnp.asarray(pair_margins(rewards + share * along))
                return float(np.asarray(kind.curvature(margin)) @ moves**2)

        third = (second(step) - second(-step)) / (2 * step)
        assert abs(third) <= 1.001 * kind.concordance * np.abs(moves).max() * second(0.0)


@each_kind
def test_the_mode_and_the_covariance_are_those_of_scipy(kind):
    # Two answers in one problem, of two users side by side; the second user's are separable.
    k, rng = kind.num_items, np.random.default_rng(3)
    items = rng.standard_normal((2, 3, k, 2))  # users, answers, responses, directions
    items[1] = -np.sort(-items[1], axis=1)
    features = np.stack(
        [
            np.concatenate(
                [np.stack([answer[a] - answer[b] for a, b in pairs_of(k)]) for answer in user]
            ).T
            for user in items
        ],
        axis=-1,
    )
    entries = features.shape[1]
    found = map_estimate(
        single(features),
        jnp.zeros((entries, 2)),
        jnp.ones((entries, 2)),
        jnp.zeros((2, 2)),
        likelihood=kind,
    )
    assert np.asarray(found.converged).all()
    for user in range(2):

        def log_probability(d, user=user):
            return sum(log_ranking(answer @ d, kind.places, kind.worst) for answer in items[user])

        mode, covariance = optimum(log_probability, 2)
        np.testing.assert_allclose(found.deviation[:, user], mode, atol=1e-4)
        np.testing.assert_allclose(found.covariance[..., user], covariance, atol=1e-3)


@each_kind
def test_predictions_are_those_of_draws_of_the_rewards(kind):
    k, rng = kind.num_items, np.random.default_rng(4)
    mean, root = rng.standard_normal(k), 0.8 * rng.standard_normal((k, k))
    covariance = root @ root.T
    variance = [covariance[a, a] + covariance[b, b] - 2 * covariance[a, b] for a, b in pairs_of(k)]
    found = np.exp(jnp.sum(kind.predictive(single(pair_margins(mean)), single(variance))))
    draws = rng.multivariate_normal(mean, covariance, 4000)
    expected = np.mean([np.exp(log_ranking(draw, kind.places, kind.worst)) for draw in draws])
    assert float(found) == pytest.approx(expected, abs=0.012)
    certain = kind.predictive(single(pair_margins(mean)), jnp.zeros(len(variance)))
    exact = log_ranking(mean, kind.places, kind.worst)
    assert float(jnp.sum(certain)) == pytest.approx(exact, abs=1e-3)


def test_it_is_finite_far_out():
    margin = single(pair_margins(np.array([-300.0, 0.0, 500.0, 1000.0])))
    for kind in (Ranking(4, 3), Ranking(4, 1, worst=True)):
        for name in ("loss", "slope", "curvature"):
            assert np.isfinite(getattr(kind, name)(margin)).all()
