"""What more would bring: more comparisons of each new person, and more people in the fit."""

from __future__ import annotations

import numpy as np

from lore_jax.evaluation.growth import Growth, growth_with_shots, growth_with_users
from lore_jax.evaluation.results import Where, name_of_shots
from lore_jax.evaluation.schema import Results
from lore_jax.reporting import svg
from lore_jax.reporting.html import paragraph as p

_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 400.0, 12.0, 190.0


def more_data(results: Results, main: str) -> list[str]:
    """Extrapolations in one sentence and one figure each.

    Args:
        results: from `make_results` or `read_results`.
        main: the method that the page is about.

    Returns:
        A section; nothing where too few amounts were tried.
    """
    where = Where(method=main)
    given = f"{name_of_shots(results)} from each new person"
    found = (
        (growth_with_shots(results, _hardest(results, where)), given),
        (growth_with_users(results, where), "people in the fit"),
    )
    figures = [_figure(growth, what) for growth, what in found if growth is not None]
    if not figures:
        return []
    explanation = (
        "Accuracy for new people, in percent, with less than there is now, and a power law through "
        "it. Dashed: what it foretells; band: how well that gain is known (95 %, exponents from "
        "1/4 to 1)."
    )
    head = f"<section><h2>What more answers or more people would bring</h2>{p(explanation)}"
    return [head, "<div class='figures'>", *figures, "</div></section>"]


def _hardest(results: Results, where: Where) -> Where:
    """On new items where unseen users were tested on some, else on known ones."""
    tested = {row["items"] for row in results["rows"] if row["users"] == "unseen"}
    return where.also(Where(items="new items" if "new items" in tested else "known items"))


def sentence(growth: Growth, what: str) -> str:
    """What twice as much would bring, in points.

    Args:
        growth: from `growth_with_shots` or `growth_with_users`.
        what: there would be more of.
    """
    mean, low, high = (svg.signed(round(100.0 * value, 1)) for value in growth.doubling)
    now = growth.amount[-1]
    amounts = f"({2 * now:.0f} rather than {now:.0f})"
    known = ""
    if np.isfinite(growth.doubling).all():
        known = f" ({low} to {high})"
        if growth.doubling.low <= 0.0:
            known += ", perhaps nothing"
    return f"Twice as many {what} {amounts} would bring about {mean} points{known}."


def _figure(growth: Growth, what: str) -> str:
    told = sentence(growth, what)
    return f"<figure>{p(told, 'also')}{growth_drawing(growth, what, told)}</figure>"


def growth_drawing(growth: Growth, what: str, told: str) -> str:
    """Accuracies against amounts on a log scale, with the curve and what it foretells.

    Args:
        growth: from `growth_with_shots` or `growth_with_users`.
        what: there would be more of.
        told: the description of the drawing.

    Returns:
        An `<svg>` element.
    """
    now = growth.amount[-1]
    x = svg.Scale(np.log2(growth.amount[0]), np.log2(2.0 * now), _LEFT + 8.0, _RIGHT)
    behind = [(amount, 100.0 * growth.fitted(amount / now)) for amount in _evenly(growth.amount)]
    ahead = [(share * now, 100.0 * growth.fitted(share)) for share in growth.reached]
    ends = [
        (share * now, *(100.0 * (growth.level + end) for end in (gain.low, gain.high)))
        for share, gain in zip(growth.reached, growth.gain, strict=True)
        if np.isfinite(gain).all()
    ]
    points = [100.0 * accuracy for accuracy in growth.accuracy]
    heights = [*points, *(y for _, y in behind + ahead), *(y for _, *both in ends for y in both)]
    low, high = max(0.0, min(heights) - 1.0), min(100.0, max(heights) + 1.0)
    y = svg.Scale(low, high, _BOTTOM, _TOP)

    def placed(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x(np.log2(amount)), y(float(np.clip(value, low, high)))) for amount, value in line]

    lower, upper = [(at, end) for at, end, _ in ends], [(at, end) for at, _, end in ends]
    parts = svg.y_axis(y, _LEFT, _RIGHT)
    if ends:
        parts.append(svg.path(placed([*lower, *reversed(upper)]), "band"))
    parts += [svg.path(placed(behind), "curve"), svg.path(placed(ahead), "curve dashed")]
    for (left, top), amount, accuracy in zip(
        placed(list(zip(growth.amount, points, strict=True))), growth.amount, points, strict=True
    ):
        parts.append(svg.dot(left, top, 4.0, "better", f"{amount:.0f}: {accuracy:.1f} %"))
    amounts = [*growth.amount, 2.0 * now]
    ticks = [float(np.log2(amount)) for amount in _apart(amounts, x)]
    parts += svg.x_axis(x, _BOTTOM, what, ticks=ticks, show=lambda log: f"{2.0**log:.0f}")
    return svg.drawing(f"Accuracy in percent against {what}", told, _BOTTOM + 38.0, parts)


def _evenly(amounts: list[float]) -> list[float]:
    return np.geomspace(amounts[0], amounts[-1], 25).tolist()


def _apart(amounts: list[float], x: svg.Scale) -> list[float]:
    """Amounts whose labels do not touch, the last two among them."""
    kept = [amounts[-1], amounts[-2]]
    for amount in reversed(amounts[:-2]):
        if x(np.log2(kept[-1])) - x(np.log2(amount)) > svg.text_width(f"{amount:.0f}") + 6.0:
            kept.append(amount)
    return kept[::-1]
