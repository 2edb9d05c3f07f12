"""Whether the parts of results agree: values with users, rows with splits, scores with axes.

Types say what each field is (`schema.py`, `storage/json_fields.py`); here is what they cannot say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

from lore_jax.evaluation.schema import AxesEntry, Results, Row

_METRICS = ("accuracy", "log_loss", "brier", "first_step")
_FINE_BINS = 200  # of confidences


def check_agreement(results: Results) -> None:
    """Raises an error if parts of results that were read from a file disagree.

    Args:
        results: all fields of their types.

    Raises:
        ValueError: one line with the place, how many entries it has and how many are expected.

    Example:
        >>> check_agreement(results)  # doctest: +SKIP
    """
    users = _users_of_tests(results)
    for place, row in _rows_of(results):
        test = row["data"], row["split"], row["items"], row["users"]
        if test not in users:
            about = f"{row['users']} users of split {test[1]} of {test[0]!r} with {test[2]}"
            raise ValueError(f"{place} is about {about}, which splits does not have")
        _check_row(place, row, users[test])
    for number, entry in enumerate(results["splits"]):
        for side, given in entry.get("given", {}).items():
            _check_length(
                f"splits[{number}].given.{side}", given, len(entry["users"].get(side, ()))
            )
    for data, described in results.get("axes", {}).items():
        _check_axes(f"axes.{data}", described)
    conclusions = [("conclusion", results.get("conclusion"))]
    conclusions += [(f"conclusions.{k}", one) for k, one in results.get("conclusions", {}).items()]
    for place, conclusion in conclusions:
        for name, value in (conclusion or {}).items():
            for key, triple in value.items() if isinstance(value, dict) else [("", value)]:
                if isinstance(triple, list):
                    _check_length(f"{place}.{name}{key and f'.{key}'}", triple, 3)


def _users_of_tests(results: Results) -> dict[tuple[object, ...], int]:
    """How many users each test has, by data set, split, items and users."""
    return {
        (entry["data"], entry["split"], items, side): len(ids)
        for entry in results["splits"]
        for items in entry["items"]
        for side, ids in entry["users"].items()
    }


def _rows_of(results: Results) -> Iterator[tuple[str, Any]]:
    """Every row that has values of users, and where it stands."""
    parts: dict[str, Sequence[Any]] = {"rows": results["rows"]}
    for name in ("learning_curve", "answers"):
        parts[name] = results.get(name, [])  # pyright: ignore[reportArgumentType]
    parts |= {f"fewer_users.{k}": rows for k, rows in results.get("fewer_users", {}).items()}
    for name, rows in parts.items():
        yield from ((f"{name}[{number}]", row) for number, row in enumerate(rows))


def _check_row(place: str, row: Row, users: int) -> None:
    """A row of pairs has every metric, one of answers their log loss."""
    metrics = ("log_loss",) if "kind" in row else _METRICS
    for name in metrics:
        if name not in row["per_user"]:
            raise ValueError(f"{place}.per_user has no {name!r}")
    for name, values in row["per_user"].items():
        _check_length(f"{place}.per_user.{name}", values, users)
    for part in ("per_item", "per_cell"):
        influences: Mapping[str, Any] = row[part]
        size = influences.get("bucket")
        for name in ("bucket", *metrics):
            if not isinstance(influences.get(name), list):
                raise ValueError(f"{place}.{part} has no list {name!r}")
            _check_length(f"{place}.{part}.{name}", influences[name], len(size or ()))
    if not row["num_users"] <= users:
        raise ValueError(f"{place}.num_users is {row['num_users']}: at most {users} is expected")
    if "kind" in row:
        return
    changed, tested = row["better"] + row["worse"], row["num_users"]
    if changed > tested:
        raise ValueError(f"{place}: better and worse are {changed}: at most {tested} is expected")
    for name, counts in row["calibration"].items():
        _check_length(f"{place}.calibration.{name}", counts, _FINE_BINS)  # pyright: ignore[reportArgumentType]


def _check_axes(place: str, described: AxesEntry) -> None:
    count = len(described["axes"])
    _check_length(f"{place}.population", described["population"], count)
    for group, scores in described["groups"].items():
        for number, own in enumerate(scores):
            _check_length(f"{place}.groups.{group}[{number}]", own, count)
        if group in (names := described.get("names", {})):
            _check_length(f"{place}.names.{group}", names[group], len(scores))
    if features := described.get("features"):
        _check_length(f"{place}.features.axes", features["axes"], count)
    if picks := described.get("picks"):
        _check_length(f"{place}.picks.picks", picks["picks"], 2)


def _check_length(place: str, values: Sized, expected: int) -> None:
    if len(values) != expected:
        raise ValueError(f"{place} has {len(values)} entries: {expected} are expected")
