"""Results of which any field is of another type, or disagrees with others, are refused in one line.

The file carries the digest of what it holds: it is what somebody made, not what a disk damaged.
"""

import random

import numpy as np
import pytest
from scored import Scored
from strange_json import of_other_kinds, put
from synthetic_results import USERS, by_shots, preferences, split_entry

from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.results import make_results, read_results, write_results

CASES = 200
FREE = ("config", "measured", "format")  # of any type; another format is another error


def whole():
    """Results with every part: a row of two users' kinds, axes, a conclusion, a fit."""
    condition = Condition("unseen", "new items", preferences(0), preferences(9))
    rows = evaluate({"m": Scored(by_shots)}, [condition], shots=(0, 3), seed=0)
    end = {"response": 3, "loading": 0.5, "prompt": "Tea?", "text": "Yes."}
    picks = [{"user": "ann", "response": 3, "sure": 0.9}] * 2
    feature = {"feature": "length", "correlation": 0.3, "low": 0.1, "high": 0.5}
    features = {"responses": 30, "prompts": 10, "tried": 4, "axes": [[feature]], "population": []}
    axes = {
        "axes": [{"share": 1.0, "high": [end], "low": [end]}],
        "groups": {"unseen users": [[0.1]] * USERS},
        "names": {"unseen users": [f"user {n}" for n in range(USERS)]},
        **{"population": [0.2], "disagreement": 0.5, "shared": 1.0},
        "features": features,
        "picks": {"replies": 3, "picks": picks},
    }
    triple = [0.1, 0.0, 0.2]
    conclusion = {
        **{"helps": False, "statement": "No.", "log_loss": {"population": triple}},
        **{"over_population": triple, "over_mismatched_user": triple, "over_donor": triple},
        **{"first_step": triple, "would_show": None, "same_as_population": False, "shots": None},
        **{"median_shots": 3.0, "splits": 1, "users": 9, "better": 1, "worse": 2},
    }
    fit = {
        **{"data": "", "split": 0, "items": "new items", "method": "m", "user_share": 1.0},
        **{"users": 9, "note": None, "parameters": 3, "seconds": 0.1, "compile_seconds": None},
        **{"adapt_one_ms": 0.1, "adapt_thousand_ms": None},
    }
    entry = split_entry(
        dropped={"pairs": 3}, chosen={"m": {"rank": 2}}, given={"seen": np.ones(USERS, int)}
    )
    more = {"axes": {"": axes}, "conclusion": conclusion, "conclusions": {"unseen": conclusion}}
    more |= {"fits": [fit], "fewer_users": {"0.5": rows[:1]}}
    return make_results(rows, [entry], name="t", config={}, seed=0, **more)


def test_a_field_of_another_type_is_refused_at_its_place(tmp_path):
    content, file = whole(), tmp_path / "results.json"
    write_results(file, content)
    assert read_results(file) == content

    def is_free(place):  # ids of users are texts or numbers
        return place[0] in FREE or (len(place) > 4 and "users" in place)

    cases = [(place, value) for place, value in of_other_kinds(content) if not is_free(place)]
    # JSON as it is written has no NaN.
    cases = [(place, value) for place, value in cases if value == value]
    for place, value in random.Random(0).sample(cases, CASES):
        write_results(file, put(content, place, value))
        with pytest.raises(ValueError, match=r"results\.json") as refusal:
            read_results(file)
        message = str(refusal.value)
        assert message.startswith(f"{file}: {place[0]}"), message
        assert "\n" not in message
        assert len(message) < len(str(file)) + 200


ROW = ("rows", 0)
DISAGREEING = {
    "a user too many": ((*ROW, "per_user", "accuracy"), [1.0] * 10, "has 10 entries: 9 are"),
    "a metric less": ((*ROW, "per_user"), {"accuracy": [1.0] * 9}, "has no 'log_loss'"),
    "an influence less": ((*ROW, "per_item", "accuracy"), [0.5], "per_item.accuracy has 1 entries"),
    "bins": ((*ROW, "calibration", "count"), [0.0], "calibration.count has 1 entries: 200 are"),
    "another split": ((*ROW, "split"), 7, r"rows\[0\] is about unseen users of split 7 of ''"),
    "other users": ((*ROW, "users"), "seen people", "users is 'seen people': 'seen' or 'unseen'"),
    "more users": ((*ROW, "num_users"), 10**6, "num_users is 1000000: at most 9 is"),
    "more gains": ((*ROW, "better"), 10**6, "better and worse are 100000[0-9]: at most"),
    "a share": ((*ROW, "accuracy"), 1.5, "accuracy is 1.5: a number of 0 to 1 or null is"),
    "a loss": ((*ROW, "log_loss"), -1.0, "log_loss is -1.0: a number of 0 or more or null is"),
    "given": (("splits", 0, "given", "seen"), [1], "given.seen has 1 entries: 9 are expected"),
    "scores": (("axes", "", "groups", "unseen users"), [[1.0, 2.0]], "has 2 entries: 1 are"),
    "names": (("axes", "", "names", "unseen users"), ["ann"], "has 1 entries: 9 are"),
    "population": (("axes", "", "population"), [], "population has 0 entries: 1 are"),
    "features": (("axes", "", "features", "axes"), [], "features.axes has 0 entries: 1 are"),
    "picks": (("axes", "", "picks", "picks"), [], "picks.picks has 0 entries: 2 are"),
    "an interval": (("conclusion", "first_step"), [1.0], "conclusion.first_step has 1 entries: 3"),
    "of several": (("conclusions", "unseen", "log_loss", "population"), [1.0], "has 1 entries: 3"),
    "fewer users": (
        ("fewer_users", "0.5", 0, "items"),
        "known items",
        "fewer_users.0.5.0. is about",
    ),
}


@pytest.mark.parametrize("name", DISAGREEING)
def test_parts_that_disagree_are_refused(tmp_path, name):
    place, value, message = DISAGREEING[name]
    write_results(tmp_path / "results.json", put(whole(), place, value))
    with pytest.raises(ValueError, match=rf"results\.json: .*{message}"):
        read_results(tmp_path / "results.json")
