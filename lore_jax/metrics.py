"""Accuracy, log loss, calibration, summaries over users, and intervals. NumPy: these run once, on small arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean with a two-sided interval, in the unit of what was averaged."""

    mean: float
    low: float
    high: float


def correct(margin: np.ndarray) -> np.ndarray:
    """1 where the margin agrees with the user, 0 where it does not, 1/2 on an exact tie; NaN stays NaN.

    Args:
        margin: z in logits `[pairs]`.

    Returns:
        float64 `[pairs]`.

    Example:
        >>> correct(np.array([2.0, 0.0, -1.0]))
        array([1. , 0.5, 0. ])
    """
    return 0.5 * (1.0 + np.sign(np.asarray(margin, np.float64)))


def log_loss(margin: np.ndarray) -> np.ndarray:
    """Bradley-Terry loss of each pair in nats: `log(1 + exp(-z))`, float64 `[pairs]`."""
    return np.logaddexp(0.0, -np.asarray(margin, np.float64))


def per_user_mean(values: np.ndarray, user: np.ndarray, num_users: int) -> np.ndarray:
    """The mean of `values [pairs]` over each user's pairs, float64 `[num_users]`; NaN for a user without pairs.

    A macro average over users is `np.nanmean` of the result: everybody counts the same, however many pairs they made.
    """
    count = np.bincount(user, minlength=num_users)
    total = np.bincount(user, weights=values, minlength=num_users)
    return np.divide(total, count, out=np.full(num_users, np.nan), where=count > 0)


def brier(probability: np.ndarray) -> np.ndarray:
    """Squared error `(1 - p)^2` of the probability given to the recorded choice, `[pairs]`."""
    return (1.0 - np.asarray(probability, np.float64)) ** 2


def calibration_bins(probability: np.ndarray, bins: int = 15) -> dict[str, np.ndarray]:
    """Confidence against accuracy in bins of equal mass.

    The recorded choice is always the chosen response, so a probability below 1/2 is folded to its confident side:
    confidence `max(p, 1 - p)`, right if `p > 1/2`. Unfolded, every outcome would be 1 and calibration meaningless.

    Args:
        probability: p of the recorded choice `[pairs]`.
        bins: the number of bins; fewer when there are fewer pairs.

    Returns:
        `confidence`, `accuracy` and `count`, each `[bins]`.

    Example:
        >>> calibration_bins(np.array([0.9, 0.1]), bins=1)["accuracy"]
        array([0.5])
    """
    probability = np.asarray(probability, np.float64)
    confidence, right = np.maximum(probability, 1.0 - probability), correct(probability - 0.5)
    parts = np.array_split(np.argsort(confidence, kind="stable"), max(1, min(bins, len(confidence))))
    return {
        "confidence": np.array([confidence[part].mean() for part in parts]),
        "accuracy": np.array([right[part].mean() for part in parts]),
        "count": np.array([len(part) for part in parts]),
    }


def expected_calibration_error(probability: np.ndarray, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over bins of equal mass: `sum_b n_b / n |conf_b - acc_b|`.

    Args:
        probability: p of the recorded choice `[pairs]`.
        bins: the number of bins.

    Returns:
        A number in `[0, 1]`. A perfectly calibrated model does not score 0 on finite data: see `calibration_floor`.

    Reference:
        Nixon et al. 2019, "Measuring calibration in deep learning" (adaptive bins).
    """
    table = calibration_bins(probability, bins)
    return float(np.average(np.abs(table["confidence"] - table["accuracy"]), weights=table["count"]))


def calibration_floor(probability: np.ndarray, rng: np.random.Generator, bins: int = 15, draws: int = 200) -> float:
    """What `expected_calibration_error` would be, on the average, if these very probabilities were true.

    Args:
        probability: p of the recorded choice `[pairs]`.
        rng: where the simulated choices come from.
        bins: the number of bins.
        draws: how many times the choices are drawn.

    Returns:
        The mean error over `draws` data sets simulated from the probabilities.
    """
    confidence = np.maximum(probability, 1.0 - probability)
    drawn = [np.where(rng.random(len(confidence)) < confidence, confidence, 1.0 - confidence) for _ in range(draws)]
    return float(np.mean([expected_calibration_error(p, bins) for p in drawn]))


def bootstrap_interval(
    splits: list[np.ndarray], rng: np.random.Generator, *, level: float = 0.95, draws: int = 2000
) -> Interval:
    """Mean over splits of the mean over users, with a percentile interval from resampling both.

    Every draw takes as many splits as there are, with replacement, and in each of them as many users, with replacement:
    the interval covers who was asked and what was held out. For a comparison of two methods pass their per-user
    differences: the pairing removes what both share.

    Args:
        splits: one array of per-user values a split; NaN (a user without pairs) is left out.
        rng: where the resampling comes from.
        level: the coverage, between 0 and 1.
        draws: how many times to resample.

    Returns:
        The `Interval`, in the unit of the values; NaN when no split has a user.

    Example:
        >>> bootstrap_interval([np.ones(20)], np.random.default_rng(0))
        Interval(mean=1.0, low=1.0, high=1.0)

    Reference:
        Davison and Hinkley 1997, "Bootstrap methods and their application", section 3.8 (nested resampling).
    """
    values = [split[~np.isnan(split)] for split in splits]
    values = [split for split in values if len(split)]
    if not values:
        return Interval(np.nan, np.nan, np.nan)
    means = np.empty((len(values), draws))
    for i, split in enumerate(values):
        # Multinomial counts instead of gathered copies: the same distribution, and a matrix product.
        counts = rng.multinomial(len(split), np.full(len(split), 1.0 / len(split)), size=draws)
        means[i] = counts @ split / len(split)
    chosen = rng.integers(len(values), size=(len(values), draws))
    draw = means[chosen, np.broadcast_to(np.arange(draws), chosen.shape)].mean(axis=0)
    low, high = np.quantile(draw, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(np.mean([split.mean() for split in values])), float(low), float(high))
