"""Accuracy, calibration, summaries over users, and intervals, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float, Int, Num, Shaped
from scipy.special import betainc, ndtr, stdtrit

_COUNTS_AT_A_TIME = 4_194_304  # of users in a draw: 32 MB


class Interval(NamedTuple):
    """A mean with a two-sided interval, in the unit of what was averaged."""

    mean: float
    low: float
    high: float


class Bins(TypedDict):
    """Means over the pairs of each bin, and how many pairs it has."""

    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    count: Int[np.ndarray, " bins"]


def correct(margin: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    """1 where the margin agrees with the user, 0 where it does not, 1/2 on a tie; NaN stays NaN.

    Args:
        margin: z in logits `[pairs]`.

    Returns:
        float64 `[pairs]`.

    Example:
        >>> correct(np.array([2.0, 0.0, -1.0]))
        array([1. , 0.5, 0. ])
    """
    return 0.5 * (1.0 + np.sign(np.asarray(margin, np.float64)))


def per_user_mean(
    values: Shaped[np.ndarray, " pairs"], user: Int[np.ndarray, " pairs"], num_users: int
) -> Float[np.ndarray, " users"]:
    """The mean of `values` over each user's pairs, float64; NaN for a user without pairs."""
    count = np.bincount(user, minlength=num_users)
    total = np.bincount(user, weights=values, minlength=num_users)
    return np.divide(total, count, out=np.full(num_users, np.nan), where=count > 0)


def brier(probability: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    """Squared error `(1 - p)^2` of the probability given to the recorded choice, `[pairs]`."""
    return (1.0 - np.asarray(probability, np.float64)) ** 2


def calibration_bins(probability: Float[np.ndarray, " pairs"], bins: int = 15) -> Bins:
    """Confidence against accuracy in bins of equal mass.

    The recorded choice is always the chosen response. Probabilities are folded to the confident
    side, confidence `max(p, 1 - p)` and right if `p > 1/2`: else every outcome would be 1.

    Args:
        probability: p of the recorded choice `[pairs]`.
        bins: the number of bins; fewer when there are fewer pairs.

    Returns:
        The `Bins`.

    Example:
        >>> calibration_bins(np.array([0.9, 0.1]), bins=1)["accuracy"]
        array([0.5])
    """
    probability = np.asarray(probability, np.float64)
    confidence, right = np.maximum(probability, 1.0 - probability), correct(probability - 0.5)
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(order))))
    return {
        "confidence": np.array([confidence[part].mean() for part in parts]),
        "accuracy": np.array([right[part].mean() for part in parts]),
        "count": np.array([len(part) for part in parts]),
    }


def expected_calibration_error(probability: Float[np.ndarray, " pairs"], bins: int = 15) -> float:
    """Mean distance of confidence and accuracy over bins, `sum_b n_b / n |conf_b - acc_b|`.

    Args:
        probability: p of the recorded choice `[pairs]`.
        bins: the number of bins.

    Returns:
        A number in `[0, 1]`. A calibrated model does not score 0 on finite data: see `ece_bias`.

    Reference:
        Nixon et al. 2019, "Measuring calibration in deep learning" (adaptive bins).
    """
    table = calibration_bins(probability, bins)
    gap = np.abs(table["confidence"] - table["accuracy"])
    return float(np.average(gap, weights=table["count"]))


def ece_bias(probability: Float[np.ndarray, " pairs"], rng: np.random.Generator) -> float:
    """The mean `expected_calibration_error` of a calibrated model on as many pairs.

    Args:
        probability: p of the recorded choice `[pairs]`, also the calibrated model's.
        rng: where the choices drawn from it come from.

    Returns:
        The mean error over 200 draws, in 15 bins.
    """
    confidence = np.sort(np.maximum(probability, 1.0 - np.asarray(probability, np.float64)))
    parts = np.array_split(confidence, max(1, min(15, len(confidence))))
    first = np.cumsum([0, *(len(part) for part in parts[:-1])])
    expected = np.add.reduceat(confidence, first)
    errors = np.empty(200)
    for i in range(len(errors)):
        # Drawn is which pairs are right, the bins stay. At 1/2 both choices count one half.
        right = np.where(confidence > 0.5, rng.random(len(confidence)) < confidence, 0.5)
        errors[i] = np.abs(np.add.reduceat(right, first) - expected).sum() / len(confidence)
    return float(errors.mean())


def bottom_share(values: Float[np.ndarray, " users"], share: float = 0.1) -> float:
    """Mean of the lowest `share` of the values, of at least one.

    Args:
        values: one number a user; NaN (a user without pairs) is left out.
        share: between 0 and 1.

    Returns:
        The mean over the worst-off users; NaN if no user has a value.

    Example:
        >>> bottom_share(np.array([0.9, 0.5, 0.7]))
        0.5
    """
    values = np.sort(values[~np.isnan(values)])
    count = int(np.ceil(share * len(values)))
    return float(values[:count].mean()) if len(values) else float("nan")


def sign_test(
    wins: Num[np.ndarray, " users"], losses: Num[np.ndarray, " users"]
) -> Float[np.ndarray, " users"]:
    """Probability of at least as many wins if wins and losses were equally likely, `P(X >= wins)`.

    Args:
        wins: pairs on which one method is right and the other wrong.
        losses: pairs on which it is the other way round; pairs on which they agree do not count.

    Returns:
        `[users]`; 1 where there are no wins.

    Example:
        >>> sign_test(np.array([6, 3]), np.array([0, 3])).round(3)
        array([0.016, 0.656])

    Reference:
        McNemar 1947, in its exact and one-sided form.
    """
    wins, losses = np.asarray(wins), np.asarray(losses)
    return np.where(wins > 0, betainc(np.maximum(wins, 1), losses + 1, 0.5), 1.0)


class Bootstrap(NamedTuple):
    """A mean over users and splits, in this data set and in data sets that might have been.

    Attributes:
        mean: the mean over splits of the mean over users.
        draws: the same in each resampled data set, `[draws]`.
        num_users: how many different users there are.
    """

    mean: float
    draws: Float[np.ndarray, " draws"]
    num_users: int

    def interval(self, level: float = 0.95) -> Interval:
        """The percentile interval; unbounded for a single user, who says nothing about others.

        Percentiles are too narrow for few users, and taken out by as much as Student's interval
        exceeds the normal one (Hesterberg 2015, "What teachers should know about the bootstrap").
        """
        n = self.num_users
        if n < 2:
            return Interval(self.mean, -np.inf, np.inf) if n else Interval(np.nan, np.nan, np.nan)
        reach = stdtrit(n - 1, 0.5 + level / 2.0) * np.sqrt(n / (n - 1))
        low, high = np.quantile(self.draws, [ndtr(-reach), ndtr(reach)])
        return Interval(self.mean, float(low), float(high))


def bootstrap(
    splits: Sequence[Float[np.ndarray, " _users"]],
    rng: np.random.Generator,
    *,
    users: Sequence[Shaped[np.ndarray, " _users"]] | None = None,
    draws: int = 2000,
) -> Bootstrap:
    """Resamples users and splits: as many as there are, with replacement.

    A user drawn twice counts twice in every split: a user tested in several splits is one user.

    Args:
        splits: one array of per-user values a split; NaN (a user without pairs) is left out.
        rng: where the resampling comes from.
        users: whose each value is, one array of ids a split; None: each user is in one split only.
        draws: how many times to resample.

    Returns:
        The `Bootstrap`, in the unit of the values; NaN when no split has a user.

    Raises:
        ValueError: `users` has another shape than `splits`.

    Example:
        >>> bootstrap([np.ones(20)], np.random.default_rng(0)).interval()
        Interval(mean=1.0, low=1.0, high=1.0)

    Reference:
        Owen 2007, "The pigeonhole bootstrap" (crossed factors are both resampled).
    """
    sizes = [len(split) for split in splits]
    if users is None:
        stops = zip(sizes, np.cumsum(sizes), strict=True)
        users = [np.arange(stop - size, stop) for size, stop in stops]
    if sizes != (given := [len(ids) for ids in users]):
        raise ValueError(f"{sizes} values, {given} users: one user a value is expected")
    known = [~np.isnan(split) for split in splits]
    values = [split[keep] for split, keep in zip(splits, known, strict=True) if keep.any()]
    names = [np.asarray(ids)[keep] for ids, keep in zip(users, known, strict=True) if keep.any()]
    if not values:
        return Bootstrap(np.nan, np.full(draws, np.nan), 0)
    distinct, row = np.unique(np.concatenate(names), return_inverse=True)
    num_users, num_splits = len(distinct), len(values)
    # As matrices `[users, splits]`: drawing users is then a product with their counts.
    column = np.repeat(np.arange(num_splits), [len(split) for split in values])
    value, member = np.zeros((num_users, num_splits)), np.zeros((num_users, num_splits))
    value[row, column], member[row, column] = np.concatenate(values), 1.0
    means = np.empty(draws)
    at_a_time = max(1, _COUNTS_AT_A_TIME // num_users)
    for start in range(0, draws, at_a_time):
        size = min(at_a_time, draws - start)
        user_counts, split_counts = _counts(num_users, size, rng), _counts(num_splits, size, rng)
        members, sums = user_counts @ member, user_counts @ value
        split_counts = np.where(members > 0, split_counts, 0)  # a split may lose all its users
        weighted = (split_counts * sums / np.maximum(members, 1)).sum(axis=1)
        means[start : start + size] = weighted / np.maximum(split_counts.sum(axis=1), 1)
    return Bootstrap(float(np.mean([split.mean() for split in values])), means, num_users)


def _counts(number: int, draws: int, rng: np.random.Generator) -> Float[np.ndarray, "draws number"]:
    """How often each of `number` things is among as many drawn with replacement."""
    drawn = rng.integers(number, size=(draws, number)) + number * np.arange(draws)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=draws * number)
    return counts.reshape(draws, number).astype(np.float64)
