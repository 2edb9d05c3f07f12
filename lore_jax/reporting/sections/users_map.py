"""Where users lie on the two strongest axes; pointing at one says who it is."""

from __future__ import annotations

import numpy as np

from lore_jax.evaluation.schema import AxesEntry
from lore_jax.reporting import svg
from lore_jax.reporting.plain_words import shorten

_STYLES = ("group first", "group second", "group third")
_LEFT, _RIGHT, _TOP = 44.0, 412.0, 30.0
_TALL, _FLAT = 330.0, 70.0  # height of the map of two axes, and of a single one
_LONGEST = 110  # letters of a text that is shown beside a user
_GOLDEN = 0.6180339887  # users on a single axis are spread by it in height, evenly


def users_map(described: AxesEntry) -> str:
    """A map of users on the two strongest axes, or along the only one.

    Args:
        described: what results hold of the axes, at least one.

    Returns:
        A figure; the origin is the average user, the cross the population.
    """
    single = len(described["axes"]) == 1
    groups = {
        name: np.array(scores, np.float64).reshape(-1, len(described["axes"]))
        for name, scores in described["groups"].items()
    }
    population = [*described["population"][:2], 0.0][:2]
    points = np.concatenate([*(scores[:, :2] for scores in groups.values())])
    far = 1.08 * max(1.0, float(np.abs(points).max(initial=0.0)), *map(abs, population))
    bottom = _TOP + (_FLAT if single else _TALL)
    x = svg.Scale(-far, far, _LEFT, _RIGHT)
    y = svg.Scale(-far, far, bottom, _TOP)
    parts = [] if single else svg.y_axis(y, _LEFT, _RIGHT, show=svg.signed)
    parts += [] if single else [svg.line(x(0.0), _TOP, x(0.0), bottom, "grid")]
    radius = float(np.clip(60.0 / np.sqrt(max(1, len(points))), 2.0, 5.0))
    legend = _LEFT
    for i, (name, scores) in enumerate(groups.items()):
        style = _STYLES[i % len(_STYLES)]
        label = f"{name} ({len(scores):,})"
        parts += [
            svg.dot(legend + 5, 14.0, 5.0, style),
            svg.text(legend + 15, 18.0, label, "start"),
        ]
        legend += 34.0 + svg.text_width(label)
        for j, user in enumerate(scores.tolist()):
            height = _TOP + _FLAT * ((0.5 + _GOLDEN * j) % 1.0) if single else y(user[1])
            hover = _hover(described, name, j)
            parts.append(svg.dot(x(user[0]), height, radius, style, hover))
    at = x(population[0]), (_TOP + bottom) / 2 if single else y(population[1])
    parts.append(svg.line(at[0] - 8, at[1], at[0] + 8, at[1], "cross"))
    parts.append(svg.line(at[0], at[1] - 8, at[0], at[1] + 8, "cross"))
    shares = [100.0 * axis["share"] for axis in described["axes"]]
    label = f"axis 1 ({shares[0]:.0f} % of the disagreement)"
    if not single:
        label = f"across: axis 1 ({shares[0]:.0f} %); up: axis 2 ({shares[1]:.0f} %)"
    parts += svg.x_axis(x, bottom, label, show=svg.signed)
    words = "Users along the axis of disagreement" if single else "Users on two axes"
    description = f"{len(points)} users; the average user is in the middle."
    image = svg.drawing(words, description, bottom + 38.0, parts)
    caption = (
        "Each point a user, in standard deviations from the average user. The cross: the "
        "population, where users start from. Point at a user to see who it is, and what this user "
        "favours."
    )
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _hover(described: AxesEntry, group: str, user: int) -> str:
    """Who a user is, where the user lies, and a text that the user favours."""
    names = described.get("names", {}).get(group)
    scores = described["groups"][group][user]
    places = ", ".join(
        f"axis {k + 1}: {svg.signed(round(score, 1))}" for k, score in enumerate(scores)
    )
    who = f"{names[user]} ({group})" if names else group
    strongest = int(np.abs(scores).argmax())
    axis = described["axes"][strongest]
    ends = axis["high"] if scores[strongest] > 0 else axis["low"]
    if not ends or "text" not in ends[0]:
        return f"{who}\n{places}"
    return f"{who}\n{places}\nfavours: {shorten(ends[0]['text'], _LONGEST)}"
