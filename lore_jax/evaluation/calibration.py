"""Calibration over many splits: counts in fine fixed bins add up, and are merged into bins of equal
mass at the end.

Every pair is folded to its confident side (`metrics.calibration_bins`). One split of few users says
little about calibration; probabilities of all splits together do, and these counts are all that
needs to be kept of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lore_jax.evaluation.metrics import correct

_EDGES = np.linspace(0.5, 1.0, 201)


class Calibration(NamedTuple):
    """Confidence against accuracy in bins of about equal mass.

    Attributes:
        confidence: mean confidence of each bin, `[bins]`.
        accuracy: share of the bin's pairs whose more probable response was chosen, `[bins]`.
        count: pairs in each bin, `[bins]`.
        error: expected calibration error, `sum_b n_b / n |conf_b - acc_b|`.
        floor: what it would be, on the average, if these probabilities were true.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    error: float
    floor: float


def count_confidences(probability: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over the pairs whose confidence falls into each fine bin between 1/2 and 1.

    Args:
        probability: p of the recorded choice `[pairs]`.

    Returns:
        `count`, `confidence` and `right`, each `[200]`.

    Example:
        >>> count_confidences(np.array([0.9, 0.1]))["right"].sum()
        1.0
    """
    confidence, bins = np.maximum(probability, 1.0 - probability), len(_EDGES) - 1
    place = np.clip(np.searchsorted(_EDGES, confidence, side="right") - 1, 0, bins - 1)
    return {
        "count": np.bincount(place, minlength=bins),
        "confidence": np.bincount(place, confidence, minlength=bins),
        "right": np.bincount(place, correct(probability - 0.5), minlength=bins),
    }


def pool(counts: Sequence[Mapping[str, Any]], *, bins: int = 15) -> Calibration:
    """Calibration of all pairs of several `count_confidences` together.

    Args:
        counts: one entry a row.
        bins: the most bins of about equal mass to merge the fine ones into.

    Returns:
        The `Calibration`; empty, with NaN for errors, if there is no pair.

    Example:
        >>> pool([row["calibration"] for row in select(results, method="gaussian", control=None, shots=20)]).error
        0.021

    Reference:
        Nixon et al. 2019, "Measuring calibration in deep learning" (adaptive bins).
    """
    count, confidence, right = (
        np.sum([np.asarray(entry[name], np.float64) for entry in counts], axis=0)
        for name in ("count", "confidence", "right")
    )
    used = count > 0
    if not used.any():
        nothing = np.zeros(0)
        return Calibration(nothing, nothing, nothing, np.nan, np.nan)
    count, confidence, right = count[used], confidence[used], right[used]
    centre = (np.cumsum(count) - count / 2.0) / count.sum()
    first = np.unique(np.floor(centre * bins), return_index=True)[1]
    # Each pair's own variance is p (1 - p); within a fine bin p is as good as constant.
    share = confidence / count
    variance = np.add.reduceat(count * share * (1.0 - share), first)
    count, confidence, right = (
        np.add.reduceat(values, first) for values in (count, confidence, right)
    )
    # A mean of many pairs is about normal: E |N(0, s^2)| = s sqrt(2 / pi).
    error, floor = np.abs(right - confidence).sum(), np.sqrt(2.0 / np.pi * variance).sum()
    return Calibration(
        confidence / count,
        right / count,
        count,
        float(error / count.sum()),
        float(floor / count.sum()),
    )
