"""Accuracy, Brier score, the first step's gain and summaries over users, in NumPy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped


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


def first_step(
    probability: Float[np.ndarray, " pairs"], before: Float[np.ndarray, " pairs"]
) -> Float[np.ndarray, " pairs"]:
    """How fast log loss falls on the way from the predictions without shots to those with.

    With `q_t = (1 - t) p_0 + t p` the mixture of both predictions of the recorded choice,

        d log q_t / dt at t = 0  =  p / p_0 - 1.

    The mean over answers is zero where p_0 is true, whatever p is. Where p is true and near p_0, it
    is twice what the whole way saves, with the same noise: log q bends down on the way. It is the
    score of t at 0. Probabilities that single precision rounds to zero count as its least normal
    number, 1e-38: two of them are as good as each other.

    Args:
        probability: p, of the recorded choice `[pairs]`.
        before: p_0, without shots `[pairs]`.

    Returns:
        float64 `[pairs]`, in nats of a whole step; a positive mean is better.

    Example:
        >>> first_step(np.array([0.75, 0.25]), np.array([0.5, 0.5]))
        array([ 0.5, -0.5])
    """
    least = float(np.finfo(np.float32).tiny)
    after, start = (np.maximum(np.asarray(p, np.float64), least) for p in (probability, before))
    return after / start - 1.0


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
