"""Every value of another type than its `TypedDict` says is found, at its place, in one line."""

import copy
import typing
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
import pytest

from lore_jax.storage.json_fields import Between, Count, check_fields


class Inner(TypedDict):
    name: str
    rows: Count


class Outer(TypedDict):
    version: Count
    kind: Literal["a", "b"]
    share: float
    layers: Annotated[int, Between(1, 10)]
    flag: bool
    note: str | None
    inner: list[Inner]
    sizes: dict[str, Count]
    one: Inner | None
    values: np.ndarray | typing.Sequence[float | None]
    anything: Any
    later: NotRequired[list[str]]


GOOD: dict[str, Any] = {
    "version": 2,
    "kind": "a",
    "share": 1,
    "layers": 10,
    "flag": True,
    "note": None,
    "inner": [{"name": "x", "rows": 3, "more": None}],
    "sizes": {"x": 0},
    "one": {"name": "x", "rows": 0},
    "values": [0.5, None, 2],
    "anything": [{}],
}
PLACES: list[tuple[str | int, ...]] = [
    *((name,) for name in GOOD if name != "anything"),
    ("inner", 0),
    ("inner", 0, "rows"),
    ("sizes", "x"),
    ("one", "name"),
    ("values", 1),
]
STRANGE = [None, [], {}, "x", float("inf"), -1, 10**400, True]
# What is fine in these places after all.
FINE = {
    ("share",): (-1, "-1"),
    ("flag",): (True,),
    ("note",): (None, "x"),
    ("inner",): ([],),
    ("sizes",): ({},),
    ("one",): (None,),
    ("one", "name"): ("x",),
    ("values",): ([],),
    ("values", 1): (None, -1),
}


def put(place, value):
    content = copy.deepcopy(GOOD)
    *outer, last = place
    inner: Any = content
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return content


def test_what_is_as_it_should_be_passes():
    check_fields(GOOD, Outer, "x.json")
    check_fields({**GOOD, "later": ["x"], "unknown": 1}, Outer, "x.json")


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_every_strange_value_is_found_at_its_place(place):
    shown = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    for value in STRANGE:
        if any(value is fine or value == fine for fine in FINE.get(place, ())):
            check_fields(put(place, value), Outer, "x.json")
            continue
        with pytest.raises(ValueError, match=r"^x\.json: ") as refusal:
            check_fields(put(place, value), Outer, "x.json")
        message = str(refusal.value)
        assert message.startswith(f"x.json: {shown[1:]}"), message
        assert len(message) < 200
        assert message.endswith("is expected") or "has no" in message


def test_what_is_missing_is_named():
    for name in GOOD:
        with pytest.raises(ValueError, match=f"^x.json has no '{name}'$"):
            check_fields(
                {key: value for key, value in GOOD.items() if key != name}, Outer, "x.json"
            )


def test_long_lists_of_numbers_are_checked_too():
    values: list[Any] = [0.5] * 1000
    check_fields({**GOOD, "values": values}, Outer, "x.json")
    values[700] = float("nan")
    with pytest.raises(ValueError, match=r"values\[700\] is nan: a number or null is expected"):
        check_fields({**GOOD, "values": values}, Outer, "x.json")


def test_tuples_stand_in_files_as_lists():
    check_fields([1, 5], tuple[int, int] | None, "x.json")
    check_fields(["a", "b", "c"], tuple[str, ...], "x.json")
    with pytest.raises(ValueError, match=r"x\.json is a list of 1: a list of 2 is expected"):
        check_fields([1], tuple[int, int], "x.json")
    with pytest.raises(ValueError, match=r"x\.json: \[1\] is 2: a text is expected"):
        check_fields(["a", 2], tuple[str, ...], "x.json")
