"""Axes with both ends; old results, which say less, still show."""

from lore_jax.reporting.sections.disagreement import disagreement

OLD = {
    "axes": [{"share": 0.7, "high": [], "low": [{"response": 7, "loading": -0.1}]}],
    "groups": {"seen users": [[0.5], [-0.5]]},
    "population": [0.1],
    "disagreement": 0.5,
    "shared": 1.0,
}


def test_an_axis_with_its_ends():
    text = "".join(disagreement("votes & more", OLD))
    assert "What people disagree about: votes &amp; more" in text
    assert "70 % of the disagreement" in text
    assert "response in row 7" in text
    assert "<li>nothing</li>" in text


def test_without_axes():
    assert "Users do not differ" in "".join(disagreement("", {**OLD, "axes": []}))
