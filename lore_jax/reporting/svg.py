"""Drawings as SVG within the page: scales, axes, and a frame with a title and a description.

The same numbers give the same bytes. Colours come from the page's style, so that drawings are
readable on a dark page too; a drawing is 420 units wide, about as wide as a telephone, and grows to
a column of the page, letters with it. What is put in is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDTH = 420.0
_LETTER = 7.0  # width of a letter, about; of the 13 that text is high


class Scale(NamedTuple):
    """Numbers to positions, linearly.

    Attributes:
        low: a number.
        high: a larger one.
        start: where `low` lies.
        end: where `high` lies.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The position of a number.

        Example:
            >>> Scale(0.0, 10.0, 100.0, 200.0)(2.5)
            125.0
        """
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers between the ends."""
        values = MaxNLocator(most).tick_values(self.low, self.high)
        return [float(value) for value in values if self.low <= value <= self.high]


def drawing(title: str, description: str, height: float, parts: Iterable[str]) -> str:
    """The frame: a title, a description for those who do not see it, and the parts.

    Args:
        title: what is drawn, in a few words.
        description: what is to be seen on it.
        height: in units; the width is `WIDTH`.
        parts: from the functions below.

    Returns:
        An `<svg>` element.
    """
    return (
        f"<svg class='drawing' viewBox='0 0 {number(WIDTH)} {number(height)}' role='img' "
        f"aria-label='{escape(title)}'><title>{escape(title)}</title>"
        f"<desc>{escape(description)}</desc>{''.join(parts)}</svg>"
    )


def number(value: float) -> str:
    """A coordinate with at most two decimals.

    Example:
        >>> number(1.5), number(2.0), number(-0.001)
        ('1.5', '2', '0')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def signed(value: float) -> str:
    """A difference, with its sign.

    Example:
        >>> signed(20.0), signed(-0.5), signed(0.0)
        ('+20', '\u22120.5', '0')
    """
    return f"{value:+g}".replace("-", "\u2212") if value else "0"


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A line between two points."""
    start, end = (number(x1), number(y1)), (number(x2), number(y2))
    place = f"x1='{start[0]}' y1='{start[1]}' x2='{end[0]}' y2='{end[1]}'"
    return f"<line class='{style}' {place}/>"


def rectangle(x: float, y: float, width: float, height: float, style: str) -> str:
    """A rectangle, its upper left corner first."""
    place = f"x='{number(x)}' y='{number(y)}' width='{number(width)}' height='{number(height)}'"
    return f"<rect class='{style}' {place}/>"


def dot(x: float, y: float, radius: float, style: str, hover: str = "") -> str:
    """A dot, with a text that appears when it is pointed at."""
    place = f"<circle class='{style}' cx='{number(x)}' cy='{number(y)}' r='{number(radius)}'"
    return f"{place}><title>{escape(hover)}</title></circle>" if hover else f"{place}/>"


def path(points: Sequence[tuple[float, float]], style: str) -> str:
    """A line through points."""
    steps = " L".join(f"{number(x)} {number(y)}" for x, y in points)
    return f"<path class='{style}' d='M{steps}'/>"


def text(x: float, y: float, words: str, anchor: str = "middle", style: str = "label") -> str:
    """Words whose start, middle or end is at a place."""
    place = f"x='{number(x)}' y='{number(y)}' text-anchor='{anchor}'"
    return f"<text class='{style}' {place}>{escape(words)}</text>"


def text_width(words: str) -> float:
    """How wide words are, about."""
    return _LETTER * len(words)


def x_axis(
    scale: Scale,
    y: float,
    label: str,
    *,
    ticks: Sequence[float] | None = None,
    show: Callable[[float], str] = "{:g}".format,
) -> list[str]:
    """A horizontal axis below a drawing, with ticks and what it is about; 38 units high."""
    parts = [line(scale.start, y, scale.end, y, "axisline")]
    for value in scale.ticks() if ticks is None else ticks:
        x = scale(value)
        parts += [line(x, y, x, y + 4, "axisline"), text(x, y + 16, show(value))]
    return [*parts, text((scale.start + scale.end) / 2, y + 33, label, style="label name")]


def y_axis(
    scale: Scale, start: float, end: float, *, show: Callable[[float], str] = "{:g}".format
) -> list[str]:
    """Ticks left of a drawing, and lines through it."""
    parts = []
    for value in scale.ticks(5):
        y = scale(value)
        parts += [line(start, y, end, y, "grid"), text(start - 6, y + 4, show(value), "end")]
    return parts


def bars(values: Sequence[float], x: Scale, height: float, *, most: int = 30) -> list[str]:
    """How many of some whole numbers lie where, as bars that stand on `height`.

    Args:
        values: whole numbers.
        x: where they lie, from the least to one above the largest; bars are as wide as one number,
            or as several where there are many.
        height: of the highest bar.
        most: the most bars.
    """
    low, high = int(x.low), int(x.high)
    wide = -(-(high - low) // most)
    edges = np.arange(low, high + wide, wide)
    count, _ = np.histogram(values, bins=edges)
    parts = []
    for left, amount in zip(edges[:-1], count, strict=True):
        if amount:
            tall = height * float(amount) / float(count.max())
            start, end = x(float(left)), x(float(min(left + wide, high)))
            parts.append(rectangle(start + 0.5, height - tall, end - start - 1.0, tall, "bars"))
    return parts
