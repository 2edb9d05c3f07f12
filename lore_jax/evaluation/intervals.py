"""Intervals of a mean over users, for new users and new items at once.

A test has U users and G items (prompts, or responses), and every user judges some of the items. In
another draw of both, the mean over users would differ because users differ and because items do.
The sum of squares of the users' influences (`influences`) holds the users' part and the noise of
single answers, that of the items' influences holds the items' part and the same noise again; that
of the cells, one user and one item each, is what both hold, and is taken out (two-way clustering):

    Var = sum_u I_u^2 U / (U - 1) + max(0, sum_g I_g^2 G / (G - 1) - sum_ug I_ug^2).

The mean of J splits has the mean of their influences, user by
user and item by item: what is tested in several splits is one user, or one item, all the same. The
interval is Student's with the smaller of users and items, less 1, as its degrees of freedom.

With several splits, users and items that one fit is tested on are what another fit was made of.
The variance is then multiplied by `SEVERAL_SPLITS`, as measured by `experiments.interval_coverage`.

Data sets count equally and are not resampled: the interval is about other users and items of the
same data sets.

References:
    Cameron, Gelbach, Miller 2011, "Robust inference with multiway clustering".
    Owen 2007, "The pigeonhole bootstrap" (crossed random users and items).
    Bayle, Bayle, Janson, Mackey 2020, "Cross-validation confidence intervals for test error".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import ndtri, stdtrit

SEVERAL_SPLITS = 1.1
_POWER = float(ndtri(0.975) + ndtri(0.8))


class Interval(NamedTuple):
    """A mean with a two-sided interval, in the unit of what was averaged."""

    mean: float
    low: float
    high: float


class Sums(NamedTuple):
    """Sums of influences in buckets.

    Attributes:
        bucket: numbers of the buckets.
        value: what was added to each.
    """

    bucket: Int[np.ndarray, " buckets"]
    value: Float[np.ndarray, " buckets"]


class Sample(NamedTuple):
    """What one split says.

    Attributes:
        users: whose each value is.
        values: one a user; NaN for a user without pairs.
        items: influences of the items; None: not known.
        cells: influences of the cells, of one user and one item each; None: not known.
    """

    users: Shaped[np.ndarray, " users"]
    values: Float[np.ndarray, " users"]
    items: Sums | None = None
    cells: Sums | None = None


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over users, and how well it is known.

    Attributes:
        mean: in the unit of the values.
        variance: of the mean; infinite for a single user, who says nothing about others.
        degrees: of freedom of Student's distribution.
        about_items: whether the variance is about new items too, or about new users only.
    """

    mean: float
    variance: float
    degrees: float
    about_items: bool

    def interval(self, level: float = 0.95) -> Interval:
        """Student's interval."""
        reach = self.variance  # infinite, or unknown
        if np.isfinite(self.variance):
            reach = float(stdtrit(self.degrees, 0.5 + level / 2.0) * np.sqrt(self.variance))
        return Interval(self.mean, self.mean - reach, self.mean + reach)

    @property
    def would_show(self) -> float:
        """The least mean that is told from 0 with 80 % power, two-sided at 5 %.

        `(z_.975 + z_.8) standard errors`
        """
        return _POWER * float(np.sqrt(self.variance))


def estimate(splits: Sequence[Sample]) -> Estimate:
    """The mean over splits of the mean over users, for new users and new items.

    Args:
        splits: of one data set. Where a split lacks influences, the interval is about users only.

    Returns:
        The `Estimate`; NaN where no split has a user.

    Example:
        >>> estimate([Sample(np.arange(4), np.array([1.0, 2.0, 3.0, 4.0]))]).interval()
        Interval(mean=2.5, low=0.4457..., high=4.5542...)
    """
    known = [~np.isnan(split.values) for split in splits]
    kept = [(split, keep) for split, keep in zip(splits, known, strict=True) if keep.any()]
    if not kept:
        return Estimate(np.nan, np.nan, 1.0, False)
    names = np.concatenate([np.asarray(split.users)[keep] for split, keep in kept])
    values = [split.values[keep] for split, keep in kept]
    mean = float(np.mean([part.mean() for part in values]))
    distinct, index = np.unique(names, return_inverse=True)
    if len(distinct) < 2:
        return Estimate(mean, np.inf, 1.0, False)
    influence = np.concatenate([(part - part.mean()) / len(part) for part in values]) / len(kept)
    variance = _sum_of_squares(np.bincount(index, influence))
    count = len(distinct)
    about_items = False
    items = _added([split.items for split, _ in kept])
    cells = _added([split.cells for split, _ in kept])
    if items is not None and cells is not None and len(items) > 1:
        variance += max(0.0, _sum_of_squares(items) - float(cells @ cells))
        count, about_items = min(count, len(items)), True
    if len(kept) > 1:
        variance *= SEVERAL_SPLITS
    return Estimate(mean, variance, count - 1.0, about_items)


def combine(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates, such as those of several data sets.

    Degrees of freedom are Satterthwaite's.

    Example:
        >>> combine([Estimate(1.0, 4.0, 9.0, True), Estimate(3.0, 4.0, 9.0, True)])
        Estimate(mean=2.0, variance=2.0, degrees=18.0, about_items=True)
    """
    count, variance = len(estimates), np.array([part.variance for part in estimates])
    degrees = np.array([part.degrees for part in estimates])
    total = float(variance.sum())
    joint = degrees.min()
    if total > 0.0 and np.isfinite(total):
        joint = total**2 / float((variance**2 / degrees).sum())
    mean = float(np.mean([part.mean for part in estimates]))
    about_items = all(part.about_items for part in estimates)
    return Estimate(mean, total / count**2, float(joint), about_items)


def _sum_of_squares(influence: Float[np.ndarray, " n"]) -> float:
    """With the factor of a small sample."""
    count = len(influence)
    return float(influence @ influence) * count / (count - 1)


def _added(splits: Sequence[Sums | None]) -> Float[np.ndarray, " buckets"] | None:
    """Influences on the mean of the splits; None where one of them has none."""
    known = [split for split in splits if split is not None]
    if len(known) < len(splits):
        return None
    bucket = np.concatenate([split.bucket for split in known])
    value = np.concatenate([split.value for split in known])
    index = np.unique(bucket, return_inverse=True)[1]
    return np.bincount(index, value) / len(known)
