"""The page: everything on it, from JSON alone; nothing loaded, nothing run, whatever is written."""

import copy
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from lore_jax.evaluation.conclusion import conclude
from lore_jax.evaluation.results import Where, join
from lore_jax.reporting.page import page

ATTACK = """<script>alert("x")</script>'"><img src=x onerror=alert(1)></p>&amp;"""


class Reader(HTMLParser):
    """Tags, attributes and texts; tags must close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def full(results):
    """Results with all that a page can show, and an attack wherever somebody's words may stand."""
    made = copy.deepcopy(results)
    end = {"response": 3, "prompt": ATTACK, "text": ATTACK, "loading": 0.42}
    axes = [
        {
            "share": 0.6,
            "high": [end, {**end, "prompt": "another", "text": "Trees."}],
            "low": [{**end, "loading": -0.3}],
        },
        {"share": 0.2, "high": [], "low": [{"response": 7, "loading": -0.1}]},
    ]
    diagnostics = {
        "disagreement": 0.5,
        "shared": 1.0,
        "effective_rank": 1.3,
        "directions": 4,
        "same_users": 0.0,
    }
    diagnostics |= {
        "offset": 0.1,
        "between": 0.6,
        "within": 0.4,
        "warnings": ["column 3 of 4 adds nothing to rewards"],
    }
    groups = {ATTACK: np.random.default_rng(0).normal(size=(9, 2)).tolist()}
    of = {
        "axes": axes,
        "groups": groups,
        "population": [0.5, -9.0],
        "disagreement": 0.5,
        "shared": 1.0,
    }
    picks = [{"user": ATTACK, "response": 3, "sure": 0.99, "text": ATTACK, "prompt": ATTACK}] * 2
    feature = {"feature": "length", "correlation": 0.5, "low": 0.25, "high": 0.7}
    more = {
        "names": {ATTACK: [ATTACK] * 9},
        "picks": {"replies": 4, "picks": picks},
        "features": {
            "responses": 320,
            "prompts": 80,
            "tried": 21,
            "axes": [[feature], []],
            "population": [{**feature, "correlation": -0.5, "low": -0.7, "high": -0.25}],
        },
    }
    made["axes"] = {ATTACK: {**of, **more, "diagnostics": diagnostics}}
    for entry in [*made["splits"], *made["rows"]]:
        entry["data"] = ATTACK
    made["config"] = {ATTACK: {"inner": ATTACK}}
    return json.loads(json.dumps(made))


def test_what_people_wrote_is_text_and_nothing_else(full):
    text = page(full, note=ATTACK)
    read = Reader(text)
    assert "script" not in read.tags
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert {value[:22] for name, value in read.attributes if name == "src"} == {
        "data:image/png;base64,"
    }
    assert not [
        name
        for name, _ in read.attributes
        if name in ("href", "xlink:href", "action", "srcset", "background")
    ]
    assert (
        "content",
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    ) in read.attributes
    assert "url(" not in text
    assert "@import" not in text
    shown = [shown for shown in read.texts if shown == ATTACK]
    # Title, name, note, prompt, text, configuration ... whole, as they were written.
    assert len(shown) >= 6


def test_the_page_says_what_the_results_say(full):
    read = Reader(page(full, note="Where the pairs come from."))
    text = " ".join(" ".join(read.texts).split())
    conclusion = conclude(full, Where("unseen", "new items", "personal", shots=8))
    assert f"{conclusion['statement']}." in text
    assert "Unseen users, new responses" in text
    assert "Where the pairs come from." in text
    assert f"people who gained {conclusion['better']} of {conclusion['users']}: more" in text
    for label in (
        "personal, 0 shots (population)",
        "personal, another user's weights",
        "ridge BT",
        "bottom decile, %",
    ):
        assert label in text
    assert "Axis 1 60 % of the disagreement" in text
    assert "Trees. 0.42" in text
    assert "response in row 7 0.10" in text
    assert "The right side goes with longer texts (r 0.50, 0.25 to 0.70)." in text
    assert "The right side goes with: none of the simple features of texts, for sure." in text
    assert "goes with shorter texts (r \u22120.50, \u22120.70 to \u22120.25)." in text
    assert "21 correlations were looked at" in text
    assert "The same question, two people" in text
    assert "warning: column 3 of 4 adds nothing to rewards" in text
    assert "effective rank of the disagreement 1.3 of 4" in text
    assert read.tags.count("img") == 3  # accuracy, gain, reliability
    assert read.tags.count("svg") == 4  # gains of users; where they lie, along two axes and on both
    heights = [
        float(value) for name, value in read.attributes if name == "height" and value != "40"
    ]
    assert max(heights) == 40.0


def test_a_title_of_ones_own(full):
    read = Reader(page(full, title=ATTACK + "!"))
    assert read.texts.count(ATTACK + "!") == 2  # the window's and the page's
    with pytest.raises(ValueError, match="title is empty"):
        page(full, title=" ")


def test_the_same_results_give_the_same_bytes(full):
    assert page(full) == page(full)


def test_a_page_without_axes_and_of_several_splits(results):
    bare = {name: value for name, value in results.items() if name != "axes"}
    one, two = (
        {
            **bare,
            "rows": [row for row in bare["rows"] if row["split"] == split],
            "splits": [bare["splits"][split]],
        }
        for split in (0, 1)
    )
    text = page(join([one, two]))
    assert "2 splits" in text
    assert "Axis" not in text
    without_axes = {
        **bare,
        "axes": {
            "": {
                "axes": [],
                "groups": {"seen users": [[]] * 15},
                "disagreement": 0.0,
                "shared": 1.0,
            }
        },
    }
    assert "Users do not differ" in page(without_axes)
    with pytest.raises(ValueError, match="nothing to report"):
        page({**bare, "rows": []})
