import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss

from lore_jax.evaluation import metrics


def random_margins(seed=0, pairs=5000):
    return np.random.default_rng(seed).normal(0.5, 2.0, pairs)


def test_accuracy_and_brier_against_scikit_learn():
    margin = random_margins()
    probability = 1.0 / (1.0 + np.exp(-margin))
    chosen = np.ones(len(margin), int)  # the recorded choice is always the chosen response
    assert metrics.correct(margin).mean() == pytest.approx(accuracy_score(chosen, margin > 0))
    assert metrics.brier(probability).mean() == pytest.approx(brier_score_loss(chosen, probability))


def test_ties_count_one_half_and_nan_stays():
    np.testing.assert_array_equal(
        metrics.correct(np.array([3.0, 0.0, -0.0, -1.0])), [1.0, 0.5, 0.5, 0.0]
    )
    assert np.isnan(metrics.correct(np.array([np.nan])))[0]


def test_per_user_mean_against_a_loop():
    rng = np.random.default_rng(1)
    user, values = np.sort(rng.integers(6, size=40)), rng.random(40)
    user[user == 2] = 3
    found = metrics.per_user_mean(values, np.sort(user), 7)
    expected = [
        values[np.sort(user) == u].mean() if (user == u).any() else np.nan for u in range(7)
    ]
    np.testing.assert_allclose(found, expected)


def test_bottom_share():
    values = np.array([0.9, np.nan, 0.1, 0.5, 0.7, 0.3])
    assert metrics.bottom_share(values, 0.4) == pytest.approx(0.2)
    assert metrics.bottom_share(values, 0.01) == 0.1
    assert metrics.bottom_share(values, 1.0) == pytest.approx(0.5)
    assert np.isnan(metrics.bottom_share(np.array([np.nan])))


def test_the_first_step_is_the_slope_of_log_loss_at_the_population():
    rng = np.random.default_rng(0)
    before, after = rng.uniform(0.05, 0.95, (2, 1000))
    step = 1e-6
    saved = np.log((1 - step) * before + step * after) - np.log(before)
    np.testing.assert_allclose(metrics.first_step(after, before), saved / step, rtol=1e-4)


def test_the_first_step_is_finite_where_single_precision_says_zero():
    after = np.array([0.0, 0.5, 0.0], np.float32)
    before = np.array([0.0, 0.0, 0.5], np.float32)
    tiny = np.finfo(np.float32).tiny
    np.testing.assert_allclose(
        metrics.first_step(after, before), [0.0, 0.5 / tiny, -1.0], rtol=1e-6
    )


def test_the_first_step_is_zero_on_the_average_where_the_population_is_right():
    rng = np.random.default_rng(1)
    truth, other = rng.uniform(0.2, 0.8, (2, 200_000))
    first = rng.random(200_000) < truth  # whether the first response is chosen
    gained = metrics.first_step(
        np.where(first, other, 1 - other), np.where(first, truth, 1 - truth)
    )
    assert abs(gained.mean()) < 4 * gained.std() / np.sqrt(len(gained))
    # Where the other is right, every further step saves less: the whole way's mean is below.
    gained = metrics.first_step(
        np.where(first, truth, 1 - truth), np.where(first, other, 1 - other)
    )
    whole = np.log(np.where(first, truth / other, (1 - truth) / (1 - other)))
    assert gained.mean() > 1.5 * whole.mean() > 0
