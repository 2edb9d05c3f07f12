"""What twice as much would bring: an extrapolation of accuracy, with its interval.

Accuracy is known with some amounts of data (users of the fit, or comparisons of each new user), as
shares t of what there is now. A power law,

    accuracy(t) = a - b t^-c,        gain from 1 to t = b (1 - t^-c),

is linear in a and b for a given c, so that the gain of a least-squares fit is a combination
`sum_i k_i accuracy_i` of the accuracies measured, with weights that add up to 0. What is hard for
all amounts alike cancels, user by user and item by item, and the interval is that of any difference
(`conclusion.combination`). Where fits of several draws of the users are known, the noise of a draw
is estimated from how they differ, and added.

Few amounts cannot tell c. Means are for c = 1/2; the interval is from the lowest to the highest end
for c = 1/4, 1/2 and 1, between which learning curves of estimation errors lie.

Reference:
    Viering, Loog 2023, "The shape of learning curves: a review" (power laws).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lore_jax.evaluation.conclusion import SplitKey, combination, rows_by_split
from lore_jax.evaluation.intervals import Estimate, Interval
from lore_jax.evaluation.results import Where, select
from lore_jax.evaluation.schema import Results, Row

_EXPONENTS = (0.25, 0.5, 1.0)
_SHOWN = 0.5
_FEWEST = 3  # amounts that an extrapolation needs
_REACHED = np.linspace(1.0, 2.0, 9)  # shares at which gains are told

Draws = Sequence[Mapping[SplitKey, Row]]  # of one amount: rows of each draw by split


class Growth(NamedTuple):
    """Accuracy against an amount of data, and what more of it would bring.

    Attributes:
        amount: what was given, ascending; the last is what there is now.
        accuracy: the mean with each amount, shares of 1.
        reached: multiples of the last amount, from 1 to 2.
        gain: what they would bring, shares of 1.
        level: the fitted accuracy with the last amount.
        slope: b of the fitted curve, for c = 1/2.
    """

    amount: list[float]
    accuracy: list[float]
    reached: list[float]
    gain: list[Interval]
    level: float
    slope: float

    @property
    def doubling(self) -> Interval:
        """What twice as much would bring, a share of 1."""
        return self.gain[-1]

    def fitted(self, share: float) -> float:
        """The curve, for c = 1/2, at a multiple of the last amount."""
        return self.level + self.slope * (1.0 - share**-_SHOWN)


def growth_with_shots(results: Results, where: Where) -> Growth | None:
    """What more comparisons of each unseen user would bring.

    Args:
        results: from `make_results` or `read_results`.
        where: the method and the items; users, control and shots are set here.

    Returns:
        The `Growth` over comparisons that the median user gave; None for fewer than three amounts.

    Example:
        >>> where = Where(items="new items", method="gaussian")
        >>> growth_with_shots(results, where).doubling  # doctest: +SKIP
        Interval(mean=0.012, low=0.004, high=0.021)
    """
    where = where.also(Where(users="unseen", control=None))
    points: dict[float, Draws] = {}
    for shots in sorted({row["shots"] or 0 for row in select(results, where)} - {0}):
        rows = rows_by_split(results, where.also(Where(shots=shots)))
        given = float(np.mean([row["median_shots"] for row in rows.values()]))
        points.setdefault(given, [rows])  # more than users have is no larger amount
    return _grow(results, points)


def growth_with_users(results: Results, where: Where) -> Growth | None:
    """What more users in the fit would bring to unseen users.

    Args:
        results: with a learning curve, from `learning_curve`.
        where: the method; the rest is that of the curve.

    Returns:
        The `Growth` over users of the fit; None without a learning curve.

    Example:
        >>> growth_with_users(results, Where(method="gaussian")).doubling  # doctest: +SKIP
        Interval(mean=0.004, low=0.001, high=0.009)
    """
    curve = results.get("learning_curve", [])
    if not curve:
        return None
    first = curve[0]
    where = where.also(Where("unseen", first["items"], control=None, shots=first["shots"]))
    everyone = rows_by_split(results, where)
    splits = {(row["data"], row["split"]) for row in curve}
    everyone = {key: row for key, row in everyone.items() if key in splits}
    sizes = {
        (entry["data"], entry["split"]): len(entry["users"]["seen"])
        for entry in results["splits"]
        if first["items"] in entry["items"]
    }
    # Splits may have different numbers of users: amounts are shares of their mean.
    draws: dict[float, dict[int, dict[SplitKey, Row]]] = {}
    for row in curve:
        key = row["data"], row["split"]
        draws.setdefault(1.0 / row["parts"], {}).setdefault(row["draw"], {})[key] = row
    now = float(np.mean([sizes[key] for key in everyone]))
    points: dict[float, Draws] = {
        now * share: list(of_draw.values()) for share, of_draw in sorted(draws.items())
    }
    return _grow(results, {**points, now: [everyone]})


def _grow(results: Results, points: Mapping[float, Draws]) -> Growth | None:
    """The growth over some amounts, the last one that of now."""
    amounts = sorted(points)
    if len(amounts) < _FEWEST:
        return None
    draws = [points[amount] for amount in amounts]
    shares = np.array(amounts) / amounts[-1]
    accuracy = np.array(
        [combination(results, _terms(draws, unit)).mean for unit in np.eye(len(amounts))]
    )
    noise, degrees = _noise_of_a_draw(results, draws)

    def gain(reached: float) -> Interval:
        found = []
        for c in _EXPONENTS:
            weights = (1.0 - reached**-c) * _slope(shares, c)
            estimate = combination(results, _terms(draws, weights))
            extra = noise * sum(w**2 / len(d) for w, d in zip(weights, draws, strict=True))
            found.append(_with_noise(estimate, extra, degrees).interval())
        low, high = min(one.low for one in found), max(one.high for one in found)
        return Interval(found[_EXPONENTS.index(_SHOWN)].mean, low, high)

    slope = float(_slope(shares, _SHOWN) @ accuracy)
    level = float(np.mean(accuracy + slope * (shares**-_SHOWN - 1.0)))
    gains = [gain(float(reached)) for reached in _REACHED]
    return Growth(amounts, accuracy.tolist(), _REACHED.tolist(), gains, level, slope)


def _slope(shares: Float[np.ndarray, " amounts"], c: float) -> Float[np.ndarray, " amounts"]:
    """The weights of the accuracies in b, of a least-squares fit of a - b t^-c."""
    u = -(shares**-c)
    centred = u - u.mean()
    return centred / (centred @ centred)


def _terms(
    draws: Sequence[Draws], weights: Float[np.ndarray, " amounts"]
) -> list[tuple[float, Mapping[SplitKey, Row]]]:
    """Weights of rows: those of an amount are shared by its draws."""
    return [
        (float(weight) / len(of_amount), rows)
        for weight, of_amount in zip(weights, draws, strict=True)
        for rows in of_amount
    ]


def _noise_of_a_draw(results: Results, draws: Sequence[Draws]) -> tuple[float, int]:
    """Variance of accuracy over draws of as many users, pooled, and its degrees of freedom."""
    total, degrees = 0.0, 0
    for of_amount in draws:
        if len(of_amount) > 1:
            means = [combination(results, [(1.0, rows)]).mean for rows in of_amount]
            total += float(np.var(means) * len(means))
            degrees += len(means) - 1
    return (total / degrees, degrees) if degrees else (0.0, 0)


def _with_noise(estimate: Estimate, extra: float, degrees: int) -> Estimate:
    """An estimate with a variance added; degrees of freedom are Satterthwaite's."""
    total = estimate.variance + extra
    if not degrees or not 0.0 < total < np.inf:
        return estimate
    joint = total**2 / (estimate.variance**2 / estimate.degrees + extra**2 / degrees)
    return Estimate(estimate.mean, total, joint, estimate.about_items)
