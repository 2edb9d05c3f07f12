"""Pieces of HTML: tables, lists of facts, figures, cards, histograms.

Whatever is put into a piece is escaped: names, notes and texts are what people wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

import numpy as np
from jaxtyping import Float

from lore_jax.reporting.tables import Cells

_BARS, _REACH = 40, 3.5  # of a histogram, in standard deviations; its ends hold what is beyond


def paragraph(text: str, style: str = "") -> str:
    """A paragraph."""
    return f"<p{_class(style)}>{escape(text)}</p>"


def details(summary: str, *parts: str) -> list[str]:
    """Parts that are folded away under a summary."""
    return [f"<details><summary>{escape(summary)}</summary>", *parts, "</details>"]


def card(label: str, value: str, more: str) -> str:
    """A number in large print, what it is, and a word on it."""
    return f"<div class='card'>{paragraph(label)}{paragraph(value, 'value')}{paragraph(more)}</div>"


def figure(uri: str, caption: str) -> str:
    """A figure with its caption."""
    text = escape(caption)
    return f"<figure><img src='{uri}' alt='{text}'><figcaption>{text}</figcaption></figure>"


def html_table(cells: Cells, main: str = "") -> str:
    """A table, its head first; the line labelled `main` stands out. Intervals are in grey."""
    head, *body = cells
    labels = "".join(f"<th>{escape(label)}</th>" for label in head)
    lines = (
        f"<tr{_class('main' if label == main else '')}><th>{escape(label)}</th>"
        f"{''.join(map(_value, values))}</tr>"
        for label, *values in body
    )
    return (
        f"<div class='scroll'><table><thead><tr>{labels}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _value(text: str) -> str:
    mean, bracket, rest = text.partition(" (")
    interval = f" <span class='interval'>({escape(rest)}</span>" if bracket else ""
    return f"<td>{escape(mean)}{interval}</td>"


def facts(entries: Iterable[tuple[str, object]]) -> str:
    """Names and values."""
    items = (f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in entries)
    return f"<dl>{''.join(items)}</dl>"


def flat(value: object, name: str = "") -> Iterable[tuple[str, object]]:
    """Names with dots, and values, of nested dictionaries."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from flat(entry, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def histogram(scores: Float[np.ndarray, " users"], population: float) -> str:
    """How many users lie where along an axis, in standard deviations; the line: the population."""
    count, _ = np.histogram(np.clip(scores, -_REACH, _REACH), bins=_BARS, range=(-_REACH, _REACH))
    heights = 40.0 * count / max(1, count.max())
    bars = "".join(
        f'<rect x="{10 * i}" y="{40 - height:.1f}" width="9" height="{height:.1f}"/>'
        for i, height in enumerate(heights)
        if height
    )
    line = 5 * _BARS * (1.0 + float(np.clip(population / _REACH, -0.99, 0.99)))
    return (
        f'<svg class="histogram" viewBox="0 0 {10 * _BARS} 40" preserveAspectRatio="none" '
        f'role="img" aria-label="positions of users along the axis"><g>{bars}</g>'
        f'<line x1="{line:.1f}" x2="{line:.1f}" y1="0" y2="40"/></svg>'
    )


def _class(style: str) -> str:
    return f" class='{style}'" if style else ""
