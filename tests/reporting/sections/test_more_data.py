"""What more would bring: one sentence with its interval, and a drawing that stays in its frame."""

from xml.etree import ElementTree

import numpy as np
import pytest

from lore_jax.evaluation.growth import Growth, growth_with_shots
from lore_jax.evaluation.intervals import Interval
from lore_jax.evaluation.results import Where
from lore_jax.reporting.sections.more_data import growth_drawing, more_data, sentence


def growth(amounts, low):
    reached = np.linspace(1.0, 2.0, 9)
    gain = [Interval(0.004 * (r - 1), low * (r - 1), 0.009 * (r - 1)) for r in reached.tolist()]
    accuracy = np.linspace(0.6, 0.7, len(amounts)).tolist()
    return Growth(amounts, accuracy, reached.tolist(), gain, 0.69, 0.02)


def test_one_sentence():
    told = sentence(growth([10.0, 20.0, 40.0], 0.001), "people in the fit")
    expected = "Twice as many people in the fit (80 rather than 40) would bring about +0.4 points"
    assert told == f"{expected} (+0.1 to +0.9)."
    told = sentence(growth([10.0, 20.0, 40.0], -0.002), "people")
    assert told.endswith("+0.4 points (\u22120.2 to +0.9), perhaps nothing.")
    assert "(" not in sentence(growth([1.0, 2.0, 4.0], -np.inf), "people").split("about")[1]


@pytest.mark.parametrize(
    "amounts", [[10.5, 21.0, 42.0], [5.0, 10.0, 19.0, 20.0, 21.0], [1.0, 2, 4]]
)
@pytest.mark.parametrize("low", [0.001, -0.9, -np.inf])
def test_the_drawing_stays_in_its_frame(amounts, low):
    root = ElementTree.fromstring(growth_drawing(growth(amounts, low), "people", "told"))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for path in root.findall("path"):
        numbers = np.array(path.attrib["d"][1:].replace("L", "").split(), float).reshape(-1, 2)
        assert ((numbers >= 0.0) & (numbers <= [width, height])).all()
    dots = [float(dot.attrib["cx"]) for dot in root.findall("circle")]
    assert len(dots) == len(amounts)
    assert dots == sorted(dots)
    assert (len(root.findall("path[@class='band']")) == 1) is bool(np.isfinite(low))
    labels = [text.text for text in root.findall("text")]
    assert f"{2 * amounts[-1]:.0f}" in labels


def test_the_section_needs_three_amounts(results):
    assert growth_with_shots(results, Where(items="new items", method="personal")) is None
    assert more_data(results, "personal") == []
    rows = [
        {**row, "shots": shots, "median_shots": float(shots)}
        for row in results["rows"]
        if row["shots"] == 8
        for shots in (2, 4, 8)
    ]
    text = "".join(more_data({**results, "rows": rows}, "personal"))
    assert "Twice as many comparisons from each new person (16 rather than 8)" in text
