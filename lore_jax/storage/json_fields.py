"""JSON of a file, checked against the types that the code reads it as.

A checksum says that a file is what was written, not that every field is what this version expects.
Each reader of a file checks it once, by the `TypedDict` that describes it; behind that door a
number is a number.
"""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Required, Union

import numpy as np


class Between(NamedTuple):
    """The least and the largest value of a number, in `Annotated`.

    Attributes:
        least: the least.
        most: the largest.
        or_null: null stands in the file where the number is NaN.
    """

    least: float
    most: float
    or_null: bool = False


_LARGEST = 2**63 - 1
Count = Annotated[int, Between(0, _LARGEST)]  # of rows, pairs, bytes ...
MaybeNaN = Annotated[float, Between(-math.inf, math.inf, or_null=True)]


class Versioned(typing.TypedDict):
    """What a file of any format version says."""

    format_version: Count


_SHOWN = 40  # characters of a value in a message
_WORDS: dict[object, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    types.NoneType: "null",
    dict: "an object",
    list: "a list",
}


def check_fields(value: object, expected: Any, where: str) -> None:
    """Raises an error if JSON is not of a type, at the first place where it is not.

    Args:
        value: what `json.loads` gave.
        expected: a `TypedDict` (further keys are allowed), or what stands in one: str, int, float
            (a finite one, or a whole number), bool, None, `Literal`, `X | Y`, `list[X]`, `tuple`,
            `dict[str, X]`, `Annotated[X, Between(...)]`, Any. Of arrays, lists are looked for: JSON
            has no others.
        where: the file, for the message.

    Raises:
        ValueError: one line with the place, what stands there and what is expected.

    Example:
        >>> class Size(typing.TypedDict):
        ...     bytes: Count
        >>> check_fields({"files": [{"bytes": 3}]}, dict[str, list[Size]], "x.json")
        >>> check_fields({"files": [{"bytes": None}]}, dict[str, list[Size]], "x.json")
        Traceback (most recent call last):
        ValueError: x.json: files[0].bytes is null: a whole number of 0 or more is expected
    """
    found = _mismatch(value, expected, "")
    if found is not None:
        place, problem = found
        place = f": {place.lstrip('.')}" if place else ""
        raise ValueError(f"{where}{place} {problem}")


def _mismatch(value: Any, expected: Any, place: str) -> tuple[str, str] | None:
    """The first place that is not as expected and what is wrong there, or None."""
    origin, parts = typing.get_origin(expected), typing.get_args(expected)
    if origin in (NotRequired, Required):
        return _mismatch(value, parts[0], place)
    if origin in (Union, types.UnionType):
        return _mismatch_of_all(value, parts, place)
    if not _is_of_kind(value, expected):
        return place, f"is {_shown(value)}: {_in_words(expected)} is expected"
    if typing.is_typeddict(expected):
        for name, hint in _hints(expected).items():
            if name in value:
                if found := _mismatch(value[name], hint, f"{place}.{name}"):
                    return found
            elif expected.__total__ and typing.get_origin(hint) is not NotRequired:
                return place, f"has no {name!r}"
    elif origin in (dict, Mapping):
        for name, entry in value.items():
            if found := _mismatch(entry, parts[1], f"{place}.{name}"):
                return found
    elif origin is tuple and parts[-1] is not ...:
        if len(value) != len(parts):
            return place, f"is {_shown(value)}: a list of {len(parts)} is expected"
        for index, (entry, part) in enumerate(zip(value, parts, strict=True)):
            if found := _mismatch(entry, part, f"{place}[{index}]"):
                return found
    elif origin in (list, Sequence, tuple) and not _are_plain(value, parts[0]):
        for index, entry in enumerate(value):
            if found := _mismatch(entry, parts[0], f"{place}[{index}]"):
                return found
    return None


def _mismatch_of_all(value: Any, parts: Sequence[Any], place: str) -> tuple[str, str] | None:
    """None if one of several types fits; else the place within the one of the value's kind."""
    near = [part for part in parts if _is_of_kind(value, part)]
    if not near:
        words = " or ".join(_in_words(part) for part in parts if part is not np.ndarray)
        return place, f"is {_shown(value)}: {words} is expected"
    found = [_mismatch(value, part, place) for part in near]
    return None if None in found else found[0]


def _is_of_kind(value: object, expected: Any) -> bool:
    """Whether a value is of a type, whatever it holds."""
    origin, parts = typing.get_origin(expected), typing.get_args(expected)
    if expected in (Any, object):
        return True
    if origin is Literal:
        return isinstance(value, str | int) and value in parts
    if origin is Annotated:
        kind, bounds = parts
        if value is None:
            return bounds.or_null
        return _is_of_kind(value, kind) and bounds.least <= typing.cast(float, value) <= bounds.most
    if origin in (dict, Mapping) or expected is dict or typing.is_typeddict(expected):
        return isinstance(value, dict)
    if origin in (list, Sequence, tuple) or expected is list:
        return isinstance(value, list)
    if expected in (None, types.NoneType):
        return value is None
    if expected is int:
        return type(value) is int and abs(value) <= _LARGEST
    if expected is float:
        return (type(value) is int and abs(value) <= _LARGEST) or (
            type(value) is float and math.isfinite(value)
        )
    return expected is not np.ndarray and isinstance(value, expected)


def _are_plain(values: list[object], expected: Any) -> bool:
    """Whether all are floats or null where that is enough: long lists of numbers take no time."""
    origin = typing.get_origin(expected)
    allowed = typing.get_args(expected) if origin in (Union, types.UnionType) else (expected,)
    numbers = {float, types.NoneType} & set(allowed)
    return set(map(type, values)) <= numbers and all(
        map(math.isfinite, (value for value in values if type(value) is float))
    )


@functools.cache
def _hints(expected: type) -> dict[str, Any]:
    return typing.get_type_hints(expected, include_extras=True)


def _in_words(expected: Any) -> str:
    origin, parts = typing.get_origin(expected), typing.get_args(expected)
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is Annotated:
        least, most, or_null = parts[1]
        limit = f" of {least} or more" if most >= _LARGEST else f" of {least} to {most:,}"
        limit = "" if least == -math.inf else limit
        return f"{_in_words(parts[0])}{limit}{' or null' if or_null else ''}"
    if origin is not None:
        return _WORDS[list if origin in (list, Sequence, tuple) else dict]
    if typing.is_typeddict(expected):
        return _WORDS[dict]
    return _WORDS[types.NoneType if expected is None else expected]


def _shown(value: object) -> str:
    """A value in a message: short, as JSON spells it."""
    if isinstance(value, dict | list):
        size = len(value)
        return (
            f"{_WORDS[type(value)]} of {size}"
            if size
            else f"an empty {'list' if isinstance(value, list) else 'object'}"
        )
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "a number beyond 64 bits"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
