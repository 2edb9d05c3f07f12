"""Results through JSON, joined, and found again by a `Where`."""

import json

import numpy as np
import pytest
from scored import Scored
from synthetic_results import USERS, by_shots, preferences, split_entry

from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.intervals import Interval
from lore_jax.evaluation.names import MISMATCHED_USER
from lore_jax.evaluation.results import (
    Where,
    join,
    make_results,
    plain,
    read_results,
    select,
    side_by_side,
    users_of,
    write_results,
)


def test_results_survive_json_and_joining(tmp_path):
    parts = []
    for split in range(2):
        condition = Condition("unseen", "new items", preferences(split), preferences(split + 9))
        rows = evaluate({"m": Scored(by_shots)}, [condition], shots=(0, 3), split=split, seed=0)
        parts.append(
            make_results(
                rows, [split_entry(split=split)], name="t", config={"shots": (0, 3)}, seed=0
            )
        )
        write_results(tmp_path / f"{split}.json", parts[-1])
    read = [read_results(tmp_path / f"{split}.json") for split in range(2)]
    assert read == parts
    assert json.loads(json.dumps(parts, allow_nan=False)) == parts
    joined = join(read)
    assert len(joined["rows"]) == 8
    assert len(select(joined, Where(control=None, shots=3))) == 2
    np.testing.assert_array_equal(users_of(joined, joined["rows"][-1]), np.arange(USERS))
    with pytest.raises(ValueError, match=r"split 0 of '' \(new items\) is in two"):
        join([read[0], read[0]])
    (tmp_path / "other.json").write_text('{"format": 99, "rows": []}')
    with pytest.raises(ValueError, match="results of format 99, format 5 is expected"):
        read_results(tmp_path / "other.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        read_results(tmp_path / "bad.json")


def test_fits_of_a_comparison_are_joined():
    def part(split, **more):
        entry = split_entry(split=split)
        return make_results([], [entry], name="t", config={}, seed=0, **more)

    first = part(0, fits=[{"method": "a"}], fewer_users={"0.5": [{"shots": 1}], "0.25": []})
    second = part(1, fits=[{"method": "b"}], fewer_users={"0.5": [{"shots": 2}]})
    joined = join([first, second])
    assert [fit["method"] for fit in joined["fits"]] == ["a", "b"]
    assert joined["fewer_users"] == {"0.5": [{"shots": 1}, {"shots": 2}], "0.25": []}
    assert "fits" not in join([part(0), part(1)])


def test_methods_of_one_split_stand_side_by_side():
    def alone(name, digest="d"):
        rows = [{"method": name}]
        fits = [{"method": name, "user_share": share} for share in (1.0, 0.5)]
        entry = {**split_entry(), "chosen": {name: {"ridge": 1.0}}, "digest": digest}
        more = {"fits": fits, "fewer_users": {"0.5": rows}}
        return make_results(rows, [entry], name="t", config=None, seed=0, **more)

    both = side_by_side([alone("a"), alone("b")])
    assert [row["method"] for row in both["rows"]] == ["a", "b"]
    fits = [(fit["method"], fit["user_share"]) for fit in both["fits"]]
    assert fits == [("a", 1.0), ("b", 1.0), ("a", 0.5), ("b", 0.5)]
    assert both["fewer_users"] == {"0.5": [{"method": "a"}, {"method": "b"}]}
    assert [list(entry["chosen"]) for entry in both["splits"]] == [["a", "b"]]
    with pytest.raises(ValueError, match=r"split 0 of .* is not the same for all of its methods"):
        side_by_side([alone("a"), alone("b", digest="other")])
    with pytest.raises(ValueError, match="no methods to set side by side"):
        side_by_side([])


def test_plain_numbers():
    assert plain(
        {
            "a": np.float32(0.5),
            "b": (np.nan, np.inf),
            "c": np.arange(2),
            3: Interval(1.0, 0.0, 2.0),
        }
    ) == {
        "a": 0.5,
        "b": [None, None],
        "c": [0, 1],
        "3": {"mean": 1.0, "low": 0.0, "high": 2.0},
    }


ROW = {
    "users": "unseen",
    "items": "new items",
    "method": "gaussian",
    "control": None,
    "shots": None,
    "data": "d",
}


@pytest.mark.parametrize(
    ("where", "matches"),
    [
        (Where(), True),
        (Where("unseen", "new items", "gaussian", None, None, "d"), True),
        (Where(control=None), True),
        (Where(control=MISMATCHED_USER), False),
        (Where(shots=0), False),
        (Where(shots=None, users="seen"), False),
    ],
)
def test_none_is_a_value_and_what_is_not_given_does_not_matter(where, matches):
    assert where.matches(ROW) == matches


def test_also_combines_and_the_other_wins():
    where = Where(users="unseen", control=None, shots=20)
    assert where.also(Where(shots=None, method="m")) == Where(
        "unseen", method="m", control=None, shots=None
    )
    assert where.also(Where()) == where
    assert repr(where) == "Where(users='unseen', control=None, shots=20)"


@pytest.mark.parametrize("old", [1, 3, 4])
def test_results_of_older_formats_are_refused_in_one_line(tmp_path, old):
    (tmp_path / "old.json").write_text(f'{{"format": {old}, "rows": []}}')
    message = rf"old\.json holds results of format {old}, format 5 is expected: evaluate again"
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path / "old.json")
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(ValueError, match="holds no results of an evaluation"):
        read_results(tmp_path / "none.json")
