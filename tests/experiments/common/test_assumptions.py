"""Populations are what their names say, by what the best possible predictors of a kind can do."""

import numpy as np
import pytest

from experiments.common import assumptions
from experiments.common.assumptions import POPULATIONS, SMOKE_SIZES, Sizes, draw_population


@pytest.mark.parametrize("kind", POPULATIONS)
def test_sizes_and_seeds(kind):
    prefs = draw_population(kind, SMOKE_SIZES, seed=0)
    assert prefs.pairs_per_user().tolist() == [16] * 30
    assert (prefs.num_responses, prefs.dim) == (72, 8)
    assert (prefs.chosen // 3 == prefs.prompt).all()
    assert (prefs.rejected // 3 == prefs.prompt).all()
    again = draw_population(kind, SMOKE_SIZES, seed=0)
    np.testing.assert_array_equal(again.chosen, prefs.chosen)
    assert (draw_population(kind, SMOKE_SIZES, seed=1).prompt != prefs.prompt).any()


def unlike(kind):
    """How often two users who were asked about the same pair disagree."""
    prefs = draw_population(kind, Sizes(users=120, prompts=10), seed=0)
    low, high = np.minimum(prefs.chosen, prefs.rejected), np.maximum(prefs.chosen, prefs.rejected)
    answers = {}
    for pair, answer in zip(zip(low, high, strict=True), prefs.chosen == low, strict=True):
        answers.setdefault(pair, []).append(answer)
    shares = np.array([np.mean(given) for given in answers.values()])
    return float(np.mean(2 * shares * (1 - shares)))


def test_people_differ_but_where_they_are_alike():
    rates = {kind: unlike(kind) for kind in POPULATIONS}
    assert min(rate for kind, rate in rates.items() if kind != "alike") > rates["alike"] + 0.03


def test_ideal_points_are_distances():
    places = np.random.default_rng(0).normal(size=(9, 3))
    rewards = assumptions._ideal_points(places, 5, np.random.default_rng(1))
    points = np.random.default_rng(1).normal(size=(5, 3))
    for user in range(5):
        for response in range(9):
            expected = -(np.linalg.norm(places[response] - points[user]) ** 2)
            np.testing.assert_allclose(rewards[user, response], expected)


def test_places_are_half_of_an_embedding():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(4000, 3))
    table = assumptions._embedded(places, 8, rng)
    np.testing.assert_allclose(np.mean(np.sum(table**2, axis=1)), 1.0, rtol=0.05)
    solved, left, *_ = np.linalg.lstsq(table, places, rcond=None)
    assert left.max() < 1e-6  # linear in the embedding
    np.testing.assert_allclose(np.mean((table @ solved) ** 2), 1.0, rtol=0.05)


def test_margins_have_their_size(monkeypatch):
    drawn = []
    monkeypatch.setattr(assumptions.np, "exp", lambda x: drawn.append(x) or np.multiply(x, 0.0))
    draw_population("non-linear", SMOKE_SIZES, seed=0)
    np.testing.assert_allclose(np.sqrt(np.mean(drawn[-1] ** 2)), 2.5)
