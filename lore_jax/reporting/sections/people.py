"""The people: how much they said, who gains and who loses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lore_jax.data.splits import Users
from lore_jax.evaluation.results import Where, name_of_shots, select
from lore_jax.evaluation.schema import Results
from lore_jax.evaluation.user_gains import UserGain, user_gains
from lore_jax.reporting import svg
from lore_jax.reporting.html import paragraph as p

_WHO: dict[Users, str] = {"unseen": "New users", "seen": "Known users"}
_MARGIN = 16.0  # left and right of a drawing
_HEIGHT = 140.0  # of the highest pile of dots, at most
_COLUMNS = 45  # piles of dots
_MOST_DOTS = 1500


def who_gains(results: Results, told: Sequence[Where]) -> list[str]:
    """Every user as a dot, by what the user's own answers add.

    Args:
        results: from `make_results` or `read_results`.
        told: conditions, from `conditions_told`.

    Returns:
        A section, or nothing.
    """
    figures = []
    for where in told:
        gains = user_gains(results, where)
        if any(user.gain for user in gains) and where.users is not ...:
            pairs = [row["num_pairs"] / max(1, row["num_users"]) for row in select(results, where)]
            figures.append(_gains_figure(gains, _WHO[where.users], float(np.mean(pairs))))
    if not figures:
        return []
    explanation = (
        "Each dot is a person. To the right of the line, the person's choices are predicted better "
        "with what the person has said than without; to the left, worse. Point at a dot to see who."
    )
    head = f"<section><h2>Who gains, who loses</h2>{p(explanation)}<div class='figures'>"
    return [head, *figures, "</div></section>"]


def _gains_figure(gains: Sequence[UserGain], who: str, pairs: float) -> str:
    better, worse = (sum(sign * user.gain > 0 for user in gains) for sign in (1, -1))
    same = len(gains) - better - worse
    counts = f"{better:,} gain, {worse:,} lose, {same:,} stay as they are"
    shown = list(gains)
    if len(gains) > _MOST_DOTS:
        evenly = np.linspace(0, len(gains) - 1, _MOST_DOTS).astype(int)
        shown = [gains[i] for i in evenly]
        counts += f"; drawn are {_MOST_DOTS:,}, evenly from the largest loss to the largest gain"
    noise = f"A dot rests on {pairs:.0f} choices of the person, about, so that a part is chance."
    caption = f"{who}: {counts}. {noise}"
    return f"<figure>{gains_drawing(shown, who)}<figcaption>{caption}</figcaption></figure>"


def gains_drawing(gains: Sequence[UserGain], who: str) -> str:
    """Dots in piles along what each user gains, in points; a line at nothing gained.

    Args:
        gains: from `user_gains`.
        who: whose, for the title.

    Returns:
        An `<svg>` element.
    """
    values = np.array([100.0 * user.gain for user in gains])
    # On both sides of the line there is room for a word, and for a pile.
    room = 0.25 * max(float(np.abs(values).max()), 1.0)
    low, high = min(float(values.min()), -room), max(float(values.max()), room)
    # A pile stands at every multiple of the width, so that nothing gained is a pile of its own.
    width = (high - low) / _COLUMNS
    pile = np.rint(values / width).astype(int)
    places, counts = np.unique(pile, return_counts=True)
    gap = int(np.diff(places).min(initial=_COLUMNS // 9))
    beside, radius = _fitting(int(counts.max()), gap * (svg.WIDTH - 2 * _MARGIN) / _COLUMNS)
    base = 22.0 + 2.0 * radius * -(-int(counts.max()) // beside)
    margin = width * max(1.0, gap / 2.0)
    x = svg.Scale(low - margin, high + margin, _MARGIN, svg.WIDTH - _MARGIN)
    parts = [svg.line(x(0.0), 16.0, x(0.0), base, "zero")]
    parts.append(svg.text(x(0.0) - 6, 12.0, "\u2190 worse", "end"))
    parts.append(svg.text(x(0.0) + 6, 12.0, "better \u2192", "start"))
    size, on_pile = dict(zip(places.tolist(), counts.tolist(), strict=True)), dict[int, int]()
    for user, value, column in zip(gains, values.tolist(), pile.tolist(), strict=True):
        below = on_pile[column] = on_pile.get(column, -1) + 1
        in_row = min(beside, size[column] - below // beside * beside)  # the last row is centred
        left = x(column * width) + 2.0 * radius * (below % beside - (in_row - 1) / 2.0)
        style = "better" if value > 0 else "worse" if value < 0 else "same"
        accuracies = f"{100 * user.before:.0f} % without, {100 * user.after:.0f} % with"
        hover = f"{user.name}: {svg.signed(round(value))} points ({accuracies})"
        y = base - radius - 2.0 * radius * (below // beside) - 1.0
        parts.append(svg.dot(left, y, 0.9 * radius, style, hover))
    parts += svg.x_axis(x, base, "points gained", show=svg.signed)
    description = (
        f"{(values > 0).sum()} users gain, {(values < 0).sum()} lose; the median user gains "
        f"{np.median(values):.0f} points, the extremes are {values.min():.0f} and "
        f"{values.max():.0f}."
    )
    return svg.drawing(f"{who}: points gained by each", description, base + 38.0, parts)


def _fitting(highest: int, wide: float) -> tuple[int, float]:
    """How many dots of a pile stand side by side, so that dots are largest; and their radius."""

    def radius(beside: int) -> float:
        return min(5.0, 0.4 * wide / beside, _HEIGHT / (2.0 * -(-highest // beside)))

    beside = max(range(1, 30), key=radius)
    return beside, radius(beside)


def how_much_they_said(results: Results) -> list[str]:
    """How many comparisons users gave that a model may use, with the median.

    Args:
        results: from `make_results` or `read_results`.

    Returns:
        A section; nothing for results that do not say.
    """
    figures, unit = [], name_of_shots(results)
    for users, who in _WHO.items():
        given = [
            count for entry in results["splits"] for count in entry.get("given", {}).get(users, [])
        ]
        if given:
            caption = (
                f"{who}: half of them gave {np.median(given):g} {unit} or more, the fewest "
                f"{min(given):,}, the most {max(given):,}."
            )
            image = f"{given_drawing(given, who, unit)}<figcaption>{caption}</figcaption>"
            figures.append(f"<figure>{image}</figure>")
    if not figures:
        return []
    explanation = p(
        f"{unit.capitalize()} that each person gave and a model may use; those kept for the test "
        "come on top. The line: the median person."
    )
    head = f"<section><h2>How much people said</h2>{explanation}<div class='figures'>"
    return [head, *figures, "</div></section>"]


def given_drawing(given: Sequence[int], who: str, unit: str = "comparisons") -> str:
    """A histogram of comparisons a user, with a line at the median.

    Args:
        given: comparisons of each user.
        who: whose, for the title.
        unit: what was given, in the plural.

    Returns:
        An `<svg>` element.
    """
    median = float(np.median(given))
    least, most = min(given), max(given)
    if most - least < 4:  # a few wide bars would look like much
        least, most = least - 2, most + 2
    x = svg.Scale(least, most + 1.0, _MARGIN, svg.WIDTH - _MARGIN)
    base, top = 78.0, 18.0
    bars = svg.bars(given, x, base - top)
    middle = x(median + 0.5)
    label = f"median {median:g}"
    reach = svg.text_width(label) / 2.0
    at = float(np.clip(middle, reach, svg.WIDTH - reach))
    parts = [f"<g transform='translate(0 {svg.number(top)})'>{''.join(bars)}</g>"]
    parts += [svg.line(middle, top - 2, middle, base, "zero"), svg.text(at, 12.0, label)]
    middles = svg.Scale(x.low - 0.5, x.high - 0.5, x.start, x.end)  # a number is below its bar
    whole = [tick for tick in middles.ticks() if tick >= 0.0 and tick.is_integer()]
    parts += svg.x_axis(middles, base, f"{unit} of a user", ticks=whole)
    description = (
        f"{len(given)} users; the median gave {median:g}, from {min(given)} to {max(given)}."
    )
    return svg.drawing(f"{who}: {unit} of each", description, base + 38.0, parts)
