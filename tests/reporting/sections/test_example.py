"""An example of two people: escaped, shortened, absent where nothing is sure."""

from lore_jax.reporting.sections.example import example

PICKS = [
    {"user": "<ann>", "response": 3, "sure": 0.987, "prompt": "Tea?", "text": "Yes. " * 200},
    {"user": "bob", "response": 5, "sure": 1.0},
]


def test_both_users_with_their_replies():
    text = "".join(example({"picks": {"replies": 4, "picks": PICKS}}))
    assert "&lt;ann&gt; would get" in text
    assert "Of 4 replies to one prompt, &lt;ann&gt; and bob would get different ones." in text
    assert "99 % sure" in text
    assert "99.9 % sure" in text
    assert "response in row 5" in text
    assert "Tea?" in text
    assert text.count("Yes.") < 70


def test_absent_where_nothing_is_decided_or_said():
    assert example({"picks": None}) == example({}) == []
