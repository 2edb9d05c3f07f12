"""The card: YAML in front, what people wrote as code, and the numbers of the results."""

import copy

import pytest

from lore_jax.evaluation.conclusion import conclusions_of
from lore_jax.reporting.model_card import model_card
from lore_jax.reporting.plain_words import conditions_told, prediction

ATTACK = "`x` <script>alert(1)</script>\n# [a](http://b)"


@pytest.fixture
def made(results):
    made = copy.deepcopy(results)
    data = {"encoder": {"model": ATTACK}, "responses": 20, "dim": 3, "pairs": 1234, "users": 15}
    made["run"] = {"data": data, "choice": {"rank": 2.0}}
    made["method"], made["note"] = "personal", ATTACK
    made["conclusions"] = conclusions_of(results, "personal")
    end = {"response": 1, "loading": 0.5, "text": ATTACK}
    axis = {"share": 0.6, "high": [end], "low": [{"response": 7, "loading": -0.1}]}
    about = {"groups": {}, "population": [0.0], "disagreement": 0.5, "shared": 1.0}
    made["axes"] = {"": {"axes": [axis], **about}}
    return made


def test_front_matter_then_how_to_load_and_how_good(made):
    card = model_card(made, license="apache-2.0")
    _, front, text = card.split("---\n", 2)
    assert front.splitlines()[:3] == ["library_name: lore_jax", 'license: "apache-2.0"', "tags:"]
    assert all(line.startswith("- ") for line in front.splitlines()[3:])
    assert 'lore.load("this folder")' in text
    assert prediction(made, conditions_told(made, "personal")[0]) in text
    for conclusion in made["conclusions"].values():
        assert conclusion["statement"] in text
    assert "Axis 1, 60 % of the disagreement" in text
    assert "- the other: row 7" in text
    assert "1,234 comparisons by 15 users, of 20 responses" in text
    assert "license" not in model_card(made)


def test_what_people_wrote_is_no_markup(made):
    shown = "`'x' <script>alert(1)</script> # [a](http://b)`"
    card = model_card(made)
    assert card.count(shown) == 3  # encoder, axis, note
    assert "<script>" not in card.replace(shown, "")


def test_bad_input(made, results):
    with pytest.raises(ValueError, match="not those of a run"):
        model_card(results)
    with pytest.raises(ValueError, match="an identifier like 'mit' is expected"):
        model_card(made, license='mit"\nx: y')
