"""Every user is a dot at the user's gain; the histogram says the median."""

import copy
from xml.etree import ElementTree

import numpy as np
import pytest

from lore_jax.evaluation.results import Where
from lore_jax.evaluation.user_gains import UserGain, user_gains
from lore_jax.reporting import svg
from lore_jax.reporting.sections.people import (
    gains_drawing,
    given_drawing,
    how_much_they_said,
    who_gains,
)

WHERE = Where("unseen", "new items", "personal", control=None, shots=8)


def dots(text):
    return ElementTree.fromstring(text).findall("circle")


def test_each_user_is_one_dot_that_says_who_and_how_much():
    gains = [UserGain("<ann>", 0.5, 0.25), UserGain("bob", 0.5, 0.5), UserGain("cy", 0.5, 1.0)]
    drawn = dots(gains_drawing(gains, "New users"))
    assert [dot.attrib["class"] for dot in drawn] == ["worse", "same", "better"]
    assert drawn[0].find("title").text == "<ann>: \u221225 points (50 % without, 25 % with)"
    places = [float(dot.attrib["cx"]) for dot in drawn]
    # Twice as far to the right as to the left, up to half a column.
    assert (places[2] - places[1]) / (places[1] - places[0]) == pytest.approx(2.0, abs=0.15)


def test_words_beside_the_line_fit_where_nobody_loses():
    root = ElementTree.fromstring(gains_drawing([UserGain("ann", 0.2, 0.9)], "New users"))
    worse = next(text for text in root.findall("text") if text.text.endswith("worse"))
    assert float(worse.attrib["x"]) > svg.text_width(worse.text)


@pytest.mark.parametrize("count", [1, 40, 1500])
def test_piles_stay_within_the_drawing(count):
    rng = np.random.default_rng(0)
    gains = [UserGain(f"user {i}", 0.5, 0.5 + 0.1 * rng.integers(-3, 4)) for i in range(count)]
    root = ElementTree.fromstring(gains_drawing(gains, "New users"))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for dot in root.findall("circle"):
        x, y, radius = (float(dot.attrib[name]) for name in ("cx", "cy", "r"))
        assert radius <= x <= width - radius
        assert radius <= y <= height - 38.0
    assert gains_drawing(gains, "New users") == gains_drawing(gains, "New users")


def test_the_section_counts_who_gains(results):
    text = "".join(who_gains(results, [WHERE]))
    gains = user_gains(results, WHERE)
    better, worse = sum(u.gain > 0 for u in gains), sum(u.gain < 0 for u in gains)
    assert f"New users: {better} gain, {worse} lose" in text
    assert len(dots(text[text.index("<svg") : text.index("</svg>") + 6])) == len(gains)
    # Where nobody's predictions change, there is nothing to show.
    assert who_gains(results, [WHERE.also(Where(shots=0))]) == []


def test_how_much_they_said_where_results_tell(results):
    assert how_much_they_said(results) == []
    told = copy.deepcopy(results)
    told["splits"][0]["given"] = {"seen": [3, 5, 40], "unseen": []}
    text = "".join(how_much_they_said(told))
    assert (
        "Known users: half of them gave 5 comparisons or more, the fewest 3, the most 40." in text
    )
    assert "New users" not in text
    assert "median 5" in given_drawing([3, 5, 40], "Known users")
