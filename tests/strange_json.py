"""JSON in which one field has a value of another type: what no reader may take as it is."""

import copy

STRANGE = [None, True, -1.5, 10**400, float("nan"), "x", [], {}, [[[]]], {"a": {}}]


def places(value, at=()):
    """Where fields stand: every key of objects, the first entry of lists."""
    if at:
        yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(min(1, len(value))):
            yield from places(value[key], (*at, key))


def put(content, place, value):
    """The same with another value in one place."""
    changed = copy.deepcopy(content)
    at(changed, place[:-1])[place[-1]] = value
    return changed


def at(content, place):
    for key in place:
        content = content[key]
    return content


def of_other_kinds(content):
    """Places and values of another kind than stands there; null is a kind, but fine in some."""
    return [
        (place, value)
        for place in places(content)
        if (own := _kind(at(content, place))) != "null"
        for value in STRANGE
        if _kind(value) not in (own, "null")
    ]


def _kind(value):
    if value is None:
        return "null"
    if isinstance(value, bool | str | list | dict):
        return type(value).__name__
    return "number" if abs(value) < 2**63 else "no number of a file"
