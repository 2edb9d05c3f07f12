"""Calibration over many splits: counts in fine bins add up, and are merged into bins at the end.

One split of few users says little about calibration; of all splits together, counts are enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lore_jax.evaluation.metrics import correct
from lore_jax.evaluation.schema import ConfidenceCounts, Row

_EDGES = np.linspace(0.5, 1.0, 201)


class Calibration(NamedTuple):
    """Confidence against accuracy in bins of about equal mass.

    Attributes:
        confidence: mean confidence of each bin.
        accuracy: share of the bin's pairs whose more probable response was chosen.
        count: pairs in each bin.
        ece: expected calibration error, `sum_b n_b / n |conf_b - acc_b|`.
        ece_bias: its mean for a calibrated model on as many pairs.
    """

    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    count: Float[np.ndarray, " bins"]
    ece: float
    ece_bias: float


def count_confidences(probability: Float[np.ndarray, " pairs"]) -> ConfidenceCounts:
    """Sums over the pairs whose confidence falls into each fine bin between 1/2 and 1.

    Args:
        probability: p of the recorded choice `[pairs]`.

    Returns:
        The `ConfidenceCounts`, NumPy.

    Example:
        >>> float(count_confidences(np.array([0.9, 0.1]))["right"].sum())
        1.0
    """
    confidence, bins = np.maximum(probability, 1.0 - probability), len(_EDGES) - 1
    index = np.clip(np.searchsorted(_EDGES, confidence, side="right") - 1, 0, bins - 1)
    return {
        "count": np.bincount(index, minlength=bins),
        "confidence": np.bincount(index, confidence, minlength=bins),
        "right": np.bincount(index, correct(probability - 0.5), minlength=bins),
    }


def pool(counts: Sequence[ConfidenceCounts], *, bins: int = 15) -> Calibration:
    """Calibration of all pairs of several `count_confidences` together.

    Args:
        counts: one entry a row.
        bins: the most bins of about equal mass to merge the fine ones into.

    Returns:
        The `Calibration`; empty, with NaN for errors, if there is no pair.

    Example:
        >>> pool([count_confidences(np.array([0.9] * 9 + [0.1]))]).ece < 1e-9
        True

    Reference:
        Nixon et al. 2019, "Measuring calibration in deep learning" (adaptive bins).
    """
    sums = np.zeros((3, len(_EDGES) - 1))
    for entry in counts:
        sums += np.asarray([entry["count"], entry["confidence"], entry["right"]], np.float64)
    sums = sums[:, sums[0] > 0]
    count, confidence, right = sums
    if not len(count):
        return Calibration(count, count, count, np.nan, np.nan)
    centre = (np.cumsum(count) - count / 2.0) / count.sum()
    first = np.unique(np.floor(centre * bins), return_index=True)[1]
    # Each pair's own variance is p (1 - p); within a fine bin p is as good as constant.
    variance = np.add.reduceat(confidence * (1.0 - confidence / count), first)
    count, confidence, right = np.add.reduceat(sums, first, axis=1)
    # A mean of many pairs is about normal: E |N(0, s^2)| = s sqrt(2 / pi).
    ece = float(np.abs(right - confidence).sum() / count.sum())
    ece_bias = float(np.sqrt(2.0 / np.pi * variance).sum() / count.sum())
    return Calibration(confidence / count, right / count, count, ece, ece_bias)


def errors_of(rows: Sequence[Row]) -> tuple[float, float]:
    """Mean over data sets of their expected calibration error, and of its bias.

    The splits of a data set together, but each data set by itself: errors of opposite sign in two
    of them must not cancel.

    Args:
        rows: of one method on one condition.

    Returns:
        ECE and ECE bias; NaN where no row has a pair.

    Example:
        >>> errors_of(rows)  # doctest: +SKIP
        (0.013, 0.004)
    """
    counts: dict[str, list[ConfidenceCounts]] = {}
    for row in rows:
        counts.setdefault(row["data"], []).append(row["calibration"])
    pooled = [pool(entries) for entries in counts.values()]
    errors = [[part.ece, part.ece_bias] for part in pooled if len(part.count)]
    ece, bias = np.mean(errors, axis=0) if errors else (np.nan, np.nan)
    return float(ece), float(bias)
