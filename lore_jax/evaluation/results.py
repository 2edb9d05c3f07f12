"""Results: rows, splits, configuration and machine as one JSON, and how to find rows in it.

Every row says by its own fields what it is about (data set, split, users, items, method, control,
shots): results of several splits are joined row by row, and a `Where` finds rows again.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any, cast

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from lore_jax.data.splits import GroupBy, Holdout, Users
from lore_jax.evaluation.agreement import check_agreement
from lore_jax.evaluation.names import Control
from lore_jax.evaluation.schema import AxesEntry, Machine, Metric, Results, Row, SplitEntry
from lore_jax.storage.files import read_checked, read_whole, with_checksum, write_file
from lore_jax.storage.json_fields import check_fields

_FORMAT = 5
_DIGITS = 6  # of stored numbers: a millionth of a point, and half the size
_PACKAGES = ("lore-jax", "jax", "jaxlib", "flax", "optax", "numpy")


@dataclasses.dataclass(frozen=True)
class Where:
    """Which rows are meant: those that have every value given; None is a value, `...` is any.

    Attributes:
        users: "seen" or "unseen".
        items: "new items" or "known items".
        method: its name.
        control: its name; None: the method itself.
        shots: after how many shots; None: all the pairs of the fit.
        data: name of the data set.

    Example:
        >>> where = Where(users="unseen", control=None)
        >>> where.also(Where(method="gaussian", users="seen"))
        Where(users='seen', method='gaussian', control=None)
    """

    users: Users | EllipsisType = ...
    items: Holdout | EllipsisType = ...
    method: str | EllipsisType = ...
    control: Control | EllipsisType | None = ...
    shots: int | EllipsisType | None = ...
    data: str | EllipsisType = ...

    def matches(self, row: Row) -> bool:
        """Whether a row has these values."""
        return all(row[name] == value for name, value in self._given().items())

    def also(self, other: Where) -> Where:
        """The rows that have the values of both; where both give a field, `other` wins."""
        return Where(**{**self._given(), **other._given()})

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not ...}

    def __repr__(self) -> str:
        return f"Where({', '.join(f'{name}={value!r}' for name, value in self._given().items())})"


def make_results(
    rows: Sequence[Row],
    splits: Sequence[SplitEntry],
    *,
    name: str,
    config: object,
    seed: int,
    axes: Mapping[str, AxesEntry] | None = None,
    measured: object = None,
    **more: object,
) -> Results:
    """Puts everything about an evaluation into one JSON value.

    Args:
        rows: from `evaluate`.
        splits: from `describe_split`, one for every split of every data set of the rows.
        name: what was run.
        config: what it was run with: dataclasses, dictionaries, numbers.
        seed: the seed of it all.
        axes: by data set: `describe_axes` of a fit, with `diagnostics` if it was diagnosed.
        measured: whatever else an experiment has measured.
        **more: other fields of `Results`.

    Returns:
        The results, plain lists and numbers; NaN is null.

    Example:
        >>> make_results(rows, [entry], name="demo", config=config, seed=0)  # doctest: +SKIP
    """
    about = {"format": _FORMAT, "name": name, "config": config, "seed": seed, "machine": _machine()}
    content = {"splits": splits, "rows": rows, "axes": axes or {}, "measured": measured}
    return cast(Results, plain({**about, **content, **more}))


def describe_split(
    users: Mapping[Users, Sequence[str | int] | Shaped[np.ndarray, " _users"]],
    *,
    items: Sequence[Holdout],
    group_by: GroupBy,
    digest: str,
    data: str = "",
    split: int = 0,
    dropped: Mapping[str, int] | None = None,
    chosen: Mapping[str, Mapping[str, float | int]] | None = None,
    given: Mapping[Users, Int[np.ndarray, " _users"]] | None = None,
) -> SplitEntry:
    """What results keep of a split.

    Args:
        users: ids of the "seen" and "unseen" users, in the order of the per-user values.
        items: which tests there are: "known items", "new items" or both.
        group_by: what the split did not cut.
        digest: sha256 of who and what is where.
        data: name of the data set.
        split: number of the split.
        dropped: how much the split left out of what.
        chosen: what was chosen on validation for each method.
        given: comparisons of each user that a model may use, `pairs_per_user()` of the fit's pairs
            and of the shots.

    Returns:
        An entry for `make_results`.

    Example:
        >>> users = {"seen": split.seen_users, "unseen": split.unseen_users}
        >>> describe_split(users, items=("new items",), group_by="prompt", digest="")["items"]
        ['new items']
    """
    about = {"data": data, "split": split, "items": items, "group_by": group_by, "digest": digest}
    content = {"users": users, "dropped": dropped or {}, "chosen": chosen or {}}
    known = {} if given is None else {"given": given}
    return cast(SplitEntry, plain({**about, **content, **known}))


def plain(value: object) -> Any:
    """The same as lists, dictionaries and numbers, as JSON holds it; NaN and infinity are None."""
    if isinstance(value, float):  # numbers first: there are many, and the other questions are slow
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if value is None or type(value) in (str, int, bool):  # NumPy's are not plain
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if names := getattr(value, "_fields", None):  # a named tuple
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, list | tuple | set):
        return [plain(entry) for entry in value]
    if isinstance(value, os.PathLike):
        return str(value)
    return value


def write_results(path: str | os.PathLike[str], results: Results) -> None:
    """Writes results as JSON with a checksum, whole or not at all.

    Raises:
        OSError: the disk refused.
    """
    write_file(Path(path), [with_checksum({**results, "format": _FORMAT}, compact=True)])


def read_results(path: str | os.PathLike[str]) -> Results:
    """Reads what `write_results` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, corrupt, or of another format version; or a field is not
            what `Results` says, or disagrees with another. One line names it.

    Example:
        >>> read_results("run/results.json")["seed"]  # doctest: +SKIP
        0
    """
    try:
        results = json.loads(read_whole(Path(path)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(results, dict) or "rows" not in results or "format" not in results:
        raise ValueError(f"{path} holds no results of an evaluation")
    if results["format"] == _FORMAT or "sha256" in results:
        results = read_checked(Path(path), compact=True)
    if results["format"] != _FORMAT:
        raise ValueError(
            f"{path} holds results of format {results['format']!r}, format {_FORMAT} is expected: "
            "evaluate again with this version"
        )
    check_fields(results, Results, str(path))
    try:
        check_agreement(cast(Results, results))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return cast(Results, results)


def join(parts: Sequence[Results]) -> Results:
    """Joins rows, splits, axes, learning curves and fits; the rest is the first's, as its axes.

    Raises:
        ValueError: there are none, or two of them are about the same split of the same data set.
    """
    if not parts:
        raise ValueError("there are no results to join")
    splits = [entry for part in parts for entry in part["splits"]]
    tests = [(entry["data"], entry["split"], items) for entry in splits for items in entry["items"]]
    if repeated := [test for test in tests if tests.count(test) > 1]:
        data, split, items = repeated[0]
        raise ValueError(f"split {split} of {data!r} ({items}) is in two of the results")
    axes = {data: entry for part in reversed(parts) for data, entry in part.get("axes", {}).items()}
    rows = [row for part in parts for row in part["rows"]]
    joined: Results = {**parts[0], "splits": splits, "rows": rows, "axes": axes}
    if curve := [row for part in parts for row in part.get("learning_curve", [])]:
        joined["learning_curve"] = curve
    if answers := [row for part in parts for row in part.get("answers", [])]:
        joined["answers"] = answers
    if any("fits" in part for part in parts):
        joined["fits"] = [entry for part in parts for entry in part.get("fits", [])]
        fewer: dict[str, list[Row]] = {}
        for part in parts:
            for share, some in part.get("fewer_users", {}).items():
                fewer.setdefault(share, []).extend(some)
        joined["fewer_users"] = fewer
    return joined


def side_by_side(methods: Sequence[Results]) -> Results:
    """Joins methods that were compared one by one on the same split; the rest is the first's.

    Args:
        methods: results of a split and test each, with `fits` and `fewer_users`.

    Returns:
        The results of a comparison of all of them: fits of all users first, method by method.

    Raises:
        ValueError: there are none, or two are about different splits.
    """
    if not methods:
        raise ValueError("there are no methods to set side by side")
    entries = [{**entry, "chosen": {}} for part in methods for entry in part["splits"]]
    if any(entry != entries[0] for entry in entries):
        data, split = entries[0]["data"], entries[0]["split"]
        raise ValueError(f"split {split} of {data!r} is not the same for all of its methods")
    chosen = {name: own for part in methods for name, own in part["splits"][0]["chosen"].items()}
    by_share = zip(*(part.get("fits", []) for part in methods), strict=True)
    shares = methods[0].get("fewer_users", {})
    return {
        **methods[0],
        "splits": [{**methods[0]["splits"][0], "chosen": chosen}],
        "rows": [row for part in methods for row in part["rows"]],
        "fits": [fit for fits in by_share for fit in fits],
        "fewer_users": {
            share: [row for part in methods for row in part.get("fewer_users", {})[share]]
            for share in shares
        },
    }


def select(results: Results, where: Where) -> list[Row]:
    """The rows that a `Where` names.

    Example:
        >>> select(results, Where(method="gaussian", control=None, shots=20))  # doctest: +SKIP
    """
    return [row for row in results["rows"] if where.matches(row)]


def name_of_shots(results: Results) -> str:
    """What users are known by, in the plural: comparisons, or answers of every kind.

    Example:
        >>> name_of_shots({"rows": [], "answers": [{"kind": "ratings 1-5"}]})
        'answers'
    """
    return "answers" if results.get("answers") else "comparisons"


def methods_of(results: Results) -> list[str]:
    """Names of the methods, in the order of the rows."""
    return list(dict.fromkeys(row["method"] for row in results["rows"]))


def users_of(results: Results, row: Row) -> Shaped[np.ndarray, " users"]:
    """Ids of the original users that the per-user values of a row belong to, in their order.

    Raises:
        ValueError: the results do not have the row's split.
    """
    for entry in results["splits"]:
        same_split = (entry["data"], entry["split"]) == (row["data"], row["split"])
        if same_split and row["items"] in entry["items"]:
            return np.asarray(entry["users"][row["users"]])
    about = f"split {row['split']} of {row['data']!r} with {row['items']}"
    raise ValueError(f"the results have no {about}")


def per_user(row: Row, metric: Metric) -> Float[np.ndarray, " users"]:
    """The per-user values of a row, float64; NaN for a user without test pairs."""
    return np.array(row["per_user"][metric], np.float64)


def _machine() -> Machine:
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cores": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
