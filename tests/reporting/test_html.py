"""Pieces of HTML are escaped, whatever stands in them."""

import numpy as np
import pytest

from lore_jax.reporting.html import card, details, facts, figure, flat, histogram, html_table

TEXT = "<b>'\"&"
ESCAPED = "&lt;b&gt;&#x27;&quot;&amp;"


@pytest.mark.parametrize(
    "piece",
    [
        card(TEXT, TEXT, TEXT),
        details(TEXT)[0],
        facts([(TEXT, TEXT)]),
        figure("data:", TEXT),
        html_table([["", TEXT], [TEXT, f"{TEXT} ({TEXT})"]], main=TEXT),
    ],
)
def test_what_is_put_in_is_escaped(piece):
    assert ESCAPED in piece
    assert "<b>" not in piece


def test_the_main_line_stands_out_and_intervals_are_set_apart():
    text = html_table([["", "a"], ["x", "1.0 (0.5 to 1.5)"], ["y", "2.0"]], main="x")
    assert "<tr class='main'><th>x</th>" in text
    assert "<td>1.0 <span class='interval'>(0.5 to 1.5)</span></td>" in text
    assert "<tr><th>y</th><td>2.0</td></tr>" in text


def test_nested_configurations_get_names_with_dots():
    assert list(flat({"fit": {"rank": 2, "deep": {"x": None}}, "seed": 0})) == [
        ("fit.rank", 2),
        ("fit.deep.x", None),
        ("seed", 0),
    ]


def test_a_histogram_without_users_and_with_users_beyond_its_ends():
    assert "<rect" not in histogram(np.zeros(0), 0.0)
    text = histogram(np.array([-9.0, 9.0, 9.0]), 9.0)
    assert text.count("<rect") == 2
    assert 'height="40.0"' in text
