"""Drawings: escaped, well-formed, at the places that the numbers say, the same every time."""

from xml.etree import ElementTree

import numpy as np
import pytest

from lore_jax.reporting import svg

TEXT = "<b>'\"&"


def test_what_is_put_in_is_escaped_and_the_drawing_is_well_formed():
    parts = [svg.dot(1.0, 2.0, 3.0, "same", TEXT), svg.text(1.0, 2.0, TEXT)]
    parts += [*svg.x_axis(svg.Scale(0, 10, 20, 400), 50, TEXT), svg.path([(0, 0), (1, 2)], "line")]
    text = svg.drawing(TEXT, TEXT, 100.0, parts)
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == TEXT
    assert root.find("title").text == root.find("desc").text == TEXT
    assert root.find("circle/title").text == TEXT
    assert "<b>" not in text


def test_ticks_are_round_numbers_at_their_places():
    scale = svg.Scale(-3.0, 11.0, 0.0, 140.0)
    assert scale.ticks() == [-2.5, 0.0, 2.5, 5.0, 7.5, 10.0]
    shown = ElementTree.fromstring(
        f"<g>{''.join(svg.x_axis(scale, 0.0, 'x', show=svg.signed))}</g>"
    )
    places = {text.text: float(text.attrib["x"]) for text in shown.findall("text")}
    assert places["0"] == 30.0
    assert places["+5"] == 80.0
    shown = ElementTree.fromstring(f"<g>{''.join(svg.y_axis(scale, 0.0, 9.0))}</g>")
    assert len(shown.findall("line")) == len(shown.findall("text"))


@pytest.mark.parametrize("values", [[3], [1, 1, 2], list(range(200)) * 2, [0, 0, 1000]])
def test_bars_count_every_value_once(values):
    scale = svg.Scale(min(values), max(values) + 1.0, 0.0, 400.0)
    bars = [
        {name: float(value) for name, value in bar.attrib.items() if name != "class"}
        for bar in ElementTree.fromstring(f"<g>{''.join(svg.bars(values, scale, 60.0))}</g>")
    ]
    assert len(bars) <= 30
    places = np.array([scale(value + 0.5) for value in values])
    ends = [(bar["x"] - 0.51, bar["x"] + bar["width"] + 0.51) for bar in bars]  # half a unit apart
    counts = np.array([((start < places) & (places < end)).sum() for start, end in ends])
    assert counts.sum() == len(values)
    np.testing.assert_allclose(
        [bar["height"] for bar in bars], 60.0 * counts / counts.max(), atol=0.01
    )
    assert all(bar["x"] >= 0.0 and bar["x"] + bar["width"] <= 400.0 for bar in bars)
