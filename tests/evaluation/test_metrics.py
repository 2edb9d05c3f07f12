import numpy as np
import pytest
import scipy.stats
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


def test_calibration_folds_to_the_confident_side():
    # .9 given to the recorded choice 90 times and .1 given to it 10 times: confidence .9, right 90
    # times of 100.
    probability = np.array([0.9] * 90 + [0.1] * 10)
    table = metrics.calibration_bins(probability, bins=1)
    assert table["confidence"][0] == pytest.approx(0.9)
    assert table["accuracy"][0] == pytest.approx(0.9)
    assert metrics.expected_calibration_error(probability, bins=1) == pytest.approx(0.0, abs=1e-12)
    # A model that is always wrong and always sure is as far off as one can be.
    assert metrics.expected_calibration_error(np.full(50, 1e-9)) == pytest.approx(1.0)


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_bins_against_a_loop(bins):
    probability = np.random.default_rng(2).random(203)
    table = metrics.calibration_bins(probability, bins)
    order = np.argsort(np.maximum(probability, 1 - probability), kind="stable")
    edges = np.cumsum([0] + [203 // bins + (i < 203 % bins) for i in range(bins)])
    for i in range(bins):
        part = probability[order[edges[i] : edges[i + 1]]]
        assert table["count"][i] == len(part)
        assert table["confidence"][i] == pytest.approx(np.maximum(part, 1 - part).mean())
        assert table["accuracy"][i] == pytest.approx((part > 0.5).mean())
    ece = sum(
        n * abs(c - a)
        for n, c, a in zip(*(table[k] for k in ("count", "confidence", "accuracy")), strict=True)
    )
    assert metrics.expected_calibration_error(probability, bins) == pytest.approx(ece / 203)


def test_fewer_pairs_than_bins():
    table = metrics.calibration_bins(np.array([0.7, 0.2]), bins=15)
    assert table["count"].tolist() == [1, 1]


def test_the_ece_bias_is_what_a_true_model_scores():
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.5, 1.0, 400)
    scores = []
    for _ in range(300):
        right = rng.random(400) < confidence
        scores.append(
            metrics.expected_calibration_error(np.where(right, confidence, 1 - confidence))
        )
    # 4 standard errors of the difference of the two means.
    allowed = 4 * np.std(scores) * np.sqrt(1 / 300 + 1 / 200)
    assert metrics.ece_bias(confidence, rng) == pytest.approx(np.mean(scores), abs=allowed)
    folded = metrics.ece_bias(np.where(rng.random(400) < 0.5, confidence, 1 - confidence), rng)
    assert folded == pytest.approx(np.mean(scores), abs=allowed)


def test_bottom_share():
    values = np.array([0.9, np.nan, 0.1, 0.5, 0.7, 0.3])
    assert metrics.bottom_share(values, 0.4) == pytest.approx(0.2)
    assert metrics.bottom_share(values, 0.01) == 0.1
    assert metrics.bottom_share(values, 1.0) == pytest.approx(0.5)
    assert np.isnan(metrics.bottom_share(np.array([np.nan])))


def test_sign_test_against_scipy():
    rng = np.random.default_rng(4)
    wins, losses = rng.integers(30, size=50), rng.integers(30, size=50)
    wins[:5], losses[5:10] = 0, 0
    expected = [
        scipy.stats.binomtest(int(w), int(w + n), alternative="greater").pvalue if w + n else 1.0
        for w, n in zip(wins, losses, strict=True)
    ]
    np.testing.assert_allclose(metrics.sign_test(wins, losses), expected, rtol=1e-9)


@pytest.mark.parametrize("users", [4, 12, 60])
def test_the_interval_covers_the_mean_of_normal_data(users):
    rng = np.random.default_rng(5)
    trials = 400
    covered = 0
    for _ in range(trials):
        low, high = metrics.bootstrap([rng.normal(0.3, 2.0, users)], rng, draws=600).interval(0.9)[
            1:
        ]
        covered += low <= 0.3 <= high
    # 90 % wanted; three standard errors of 400 trials are 4.5 points, and 600 draws blur the ends
    # by another one.
    assert covered / trials == pytest.approx(0.9, abs=0.055)


def test_the_same_users_in_several_splits_are_not_more_users():
    # Users differ much, splits hardly: ten splits of the same 30 users tell what one split tells.
    rng = np.random.default_rng(6)
    of_user = rng.normal(size=30)
    splits = [of_user + rng.normal(scale=0.01, size=30) for _ in range(10)]
    one = metrics.bootstrap(splits[:1], rng).interval()
    ten = metrics.bootstrap(splits, rng, users=[np.arange(30)] * 10).interval()
    apart = metrics.bootstrap(splits, rng).interval()
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.15)
    assert apart.high - apart.low < 0.5 * (one.high - one.low)


def test_the_interval_of_paired_differences_is_narrower():
    rng = np.random.default_rng(7)
    ability = rng.normal(size=100)
    first, second = (
        ability + rng.normal(scale=0.1, size=100),
        ability + rng.normal(scale=0.1, size=100),
    )
    paired = metrics.bootstrap([second - first], rng).interval()
    alone = metrics.bootstrap([second], rng).interval()
    assert paired.high - paired.low < 0.3 * (alone.high - alone.low)


def test_means_over_users_and_splits():
    splits = [np.array([1.0, np.nan, 3.0]), np.array([5.0]), np.array([np.nan])]
    found = metrics.bootstrap(splits, np.random.default_rng(8))
    assert found.mean == 3.5  # (2 + 5) / 2: the split of nobody is no split
    assert found.num_users == 3
    interval = found.interval()
    assert interval.low <= 3.5 <= interval.high


def test_nobody_and_a_single_user():
    assert np.isnan(
        metrics.bootstrap([np.array([np.nan])], np.random.default_rng(0)).interval()
    ).all()
    assert metrics.bootstrap([np.array([0.7])], np.random.default_rng(0)).interval() == (
        0.7,
        -np.inf,
        np.inf,
    )


def test_values_without_their_users_are_refused():
    with pytest.raises(ValueError, match=r"\[3\] values, \[2\] users: one user a value"):
        metrics.bootstrap([np.zeros(3)], np.random.default_rng(0), users=[np.arange(2)])
