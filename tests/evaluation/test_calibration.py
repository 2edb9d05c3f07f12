"""Calibration of pooled counts against all pairs together, against a loop, and over data sets."""

import numpy as np
import pytest

from lore_jax.evaluation.calibration import count_confidences, errors_of, pool


def calibration_error(probability, bins=15):
    """Brute force: pairs sorted by confidence in bins of equal mass."""
    confidence = np.maximum(probability, 1 - probability)
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    gaps = [abs(sum(probability[part] > 0.5) - sum(confidence[part])) for part in parts]
    return sum(gaps) / len(probability)


def test_pooled_counts_give_the_calibration_of_all_pairs_together():
    rng = np.random.default_rng(1)
    parts = [np.clip(rng.beta(3, 2, 4000), 0.001, 0.999) for _ in range(3)]
    pooled = pool([count_confidences(part) for part in parts])
    np.testing.assert_allclose(pooled.ece, calibration_error(np.concatenate(parts)), atol=2e-3)
    assert pooled.count.sum() == 12_000
    assert pooled.count.min() > 0.7 * 12_000 / 15
    assert np.isnan(pool([count_confidences(np.zeros(0))]).ece)


def test_calibration_folds_to_the_confident_side():
    # .9 given to the recorded choice 90 times and .1 given to it 10 times: confidence .9, right 90
    # times of 100.
    probability = np.array([0.9] * 90 + [0.1] * 10)
    pooled = pool([count_confidences(probability)], bins=1)
    assert pooled.confidence[0] == pytest.approx(0.9)
    assert pooled.accuracy[0] == pytest.approx(0.9)
    assert pooled.ece == pytest.approx(0.0, abs=1e-12)
    # A model that is always wrong and always sure is as far off as one can be.
    assert pool([count_confidences(np.full(50, 1e-9))]).ece == pytest.approx(1.0)


def test_ties_are_kept_together_whatever_their_order():
    # Equal confidences in one bin: their order, which is chance, must not change the error.
    probability = np.repeat([0.9, 0.1, 0.6, 0.4], [90, 10, 30, 20])
    shuffled = np.random.default_rng(0).permutation(probability)
    first, second = (pool([count_confidences(part)]).ece for part in (probability, shuffled))
    assert first == pytest.approx(0.0, abs=1e-12)
    assert second == pytest.approx(first, abs=1e-12)


def test_the_ece_bias_is_what_a_true_model_scores():
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.5, 1.0, 400)
    scores = []
    for _ in range(300):
        right = rng.random(400) < confidence
        chosen = np.where(right, confidence, 1 - confidence)
        scores.append(pool([count_confidences(chosen)]).ece)
    # 4 standard errors of the mean, and 5 % for sums of some 27 pairs being about normal.
    allowed = 4 * np.std(scores) / np.sqrt(300) + 0.05 * np.mean(scores)
    assert pool([count_confidences(confidence)]).ece_bias == pytest.approx(
        np.mean(scores), abs=allowed
    )


def test_errors_of_opposite_sign_in_two_data_sets_do_not_cancel():
    right, wrong = np.full(40, 0.6), np.full(40, 0.6)
    right[:1], wrong[:31] = 0.4, 0.4  # right 39 times of 40, and 9 times
    rows = [
        {"data": data, "calibration": count_confidences(part)}
        for data, part in (("a", right), ("b", wrong), ("empty", right[:0]))
    ]
    together = pool([row["calibration"] for row in rows]).ece
    assert together == pytest.approx(0.0, abs=1e-9)
    ece, bias = errors_of(rows)
    assert ece == pytest.approx((0.375 + 0.375) / 2)
    assert bias > 0
    assert np.isnan(errors_of(rows[2:])).all()
