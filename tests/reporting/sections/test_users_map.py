"""The map: every user at the user's scores, named where names are known, within its frame."""

from xml.etree import ElementTree

import numpy as np
import pytest

from lore_jax.reporting.sections.users_map import users_map


def described(axes, seed=0):
    rng = np.random.default_rng(seed)
    end = {"response": 1, "loading": 0.5, "text": "Trees & <b>more</b> " * 20}
    return {
        "axes": [{"share": 0.5, "high": [end], "low": []} for _ in range(axes)],
        "groups": {
            "seen users": rng.normal(size=(9, axes)).tolist(),
            "unseen users": rng.normal(size=(4, axes)).tolist(),
        },
        "names": {"seen users": [f"<p{i}>" for i in range(9)]},
        "population": [0.5, -9.0, 0.0][:axes],
    }


def users(text):
    root = ElementTree.fromstring(text)
    circles = root.findall("svg/circle")
    return root.find("svg"), [c for c in circles if c.find("title") is not None]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_every_user_is_drawn_where_the_scores_say(axes):
    made = described(axes)
    frame, drawn = users(users_map(made))
    assert len(drawn) == 13
    scores = np.concatenate([made["groups"][name] for name in ("seen users", "unseen users")])
    for axis, name in enumerate(("cx", "cy")[:axes]):
        places = np.array([float(dot.attrib[name]) for dot in drawn])
        assert abs(np.corrcoef(places, scores[:, axis])[0, 1]) > 0.9999
    _, _, width, height = map(float, frame.attrib["viewBox"].split())
    for shape in frame.iter():
        for name, most in (("x1", width), ("x2", width), ("y1", height), ("cy", height)):
            assert 0.0 <= float(shape.attrib.get(name, 0.0)) <= most


def test_pointing_at_a_user_says_who_and_what():
    made = described(2)
    _, drawn = users(users_map(made))
    titles = [dot.find("title").text for dot in drawn]
    assert titles[0].startswith("<p0> (seen users)\naxis 1: ")
    assert titles[9].startswith("unseen users\naxis 1: ")
    for title, scores in zip(titles, made["groups"]["seen users"], strict=False):
        assert ("favours: Trees & <b>more</b>" in title) is (max(scores, key=abs) > 0)
    # Results from before users had names.
    old = {name: value for name, value in made.items() if name != "names"}
    assert "&lt;p0&gt;" not in users_map(old)
    empty = {**made, "groups": {"seen users": []}}
    assert users(users_map(empty))[1] == []
