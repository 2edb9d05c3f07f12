"""Results: rows, splits, configuration and machine as one JSON, and the per-user values in it, by
name.

The JSON is the one thing an evaluation leaves behind. It is flat: every row says by its own fields
what it is about (data set, split, users, items, method, control, shots), so results of several
splits or data sets are joined by putting their rows together (`join`), and found again by naming
fields (`select`).
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
from typing import Any

import jax
import numpy as np

from lore_jax.data.splits import GroupBy
from lore_jax.evaluation.evaluate import Row
from lore_jax.storage.files import write_file

_FORMAT = 1
_DIGITS = 6  # of stored numbers: a millionth of a point, and half the size
_PACKAGES = ("lore-jax", "jax", "jaxlib", "flax", "optax", "numpy")

Results = dict[str, Any]


def make_results(
    rows: Sequence[Row],
    splits: Sequence[Mapping[str, Any]],
    *,
    name: str,
    config: Any,
    seed: int,
    axes: Mapping[str, Any] | None = None,
    **more: Any,
) -> Results:
    """Puts everything about an evaluation into one JSON value.

    Args:
        rows: from `evaluate`.
        splits: from `describe_split`, one for every split of every data set that the rows are
            about.
        name: what was run.
        config: what it was run with: dataclasses, dictionaries, numbers.
        seed: the seed of it all.
        axes: names of data sets to `describe_axes` of a fit, `collapse` beside it if it was looked
            at.
        **more: whatever else belongs to it (the conclusion, for instance).

    Returns:
        The results, plain lists and numbers; NaN is null.

    Example:
        >>> results = make_results(rows, [describe_split(split, group_by="prompt")], name="demo", config=config, seed=0)
    """
    content = {
        "format": _FORMAT,
        "name": name,
        "config": config,
        "seed": seed,
        "machine": _machine(),
        "splits": list(splits),
        "rows": list(rows),
        "axes": axes or {},
    }
    return plain({**content, **more})


def describe_split(
    users: Mapping[str, Sequence[Any] | np.ndarray],
    *,
    items: Sequence[str],
    group_by: GroupBy,
    digest: str,
    data: str = "",
    split: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """What results keep of a split.

    Args:
        users: "seen" and "unseen" to who they are (ids of the original users): the order of the
            per-user values.
        items: which tests there are: "known items", "new items" or both.
        group_by: what the split did not cut.
        digest: sha256 of who and what is where.
        data: name of the data set.
        split: number of the split.
        **more: what was dropped, for instance.

    Returns:
        An entry for `make_results`.

    Example:
        >>> describe_split(
        ...     {"seen": split.seen_users, "unseen": split.unseen_users},
        ...     items=("known items", "new items"), group_by="prompt", digest=split.digest, dropped=split.dropped._asdict(),
        ... )
    """
    return plain(
        {
            "data": data,
            "split": split,
            "items": items,
            "group_by": group_by,
            "digest": digest,
            "users": dict(users),
            **more,
        }
    )


def plain(value: Any) -> Any:
    """The same with lists, dictionaries and numbers only, as JSON holds it; NaN and infinity become
    None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if fields := getattr(value, "_fields", None):  # a named tuple
        return {name: plain(getattr(value, name)) for name in fields}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, list | tuple | set):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return str(value)
    return value


def write_results(path: str | os.PathLike[str], results: Results) -> None:
    """Writes results as JSON, whole or not at all.

    Raises:
        OSError: the disk refused.
    """
    write_file(Path(path), [json.dumps(results, allow_nan=False, separators=(",", ":")).encode()])


def read_results(path: str | os.PathLike[str]) -> Results:
    """Reads what `write_results` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file.

    Example:
        >>> read_results("run/results.json")["seed"]
        0
    """
    try:
        results = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(results, dict) or "rows" not in results or results.get("format") != _FORMAT:
        found = results.get("format") if isinstance(results, dict) else type(results).__name__
        raise ValueError(f"{path} holds no results of format {_FORMAT}: its format is {found!r}")
    return results


def join(parts: Sequence[Results]) -> Results:
    """Results of several splits or data sets as one: their rows, splits and axes together, the rest
    from the first.

    Raises:
        ValueError: there are none, or two of them are about the same split of the same data set.
    """
    if not parts:
        raise ValueError("there are no results to join")
    splits = [entry for part in parts for entry in part["splits"]]
    about = [(entry["data"], entry["split"], items) for entry in splits for items in entry["items"]]
    if twice := [key for key in about if about.count(key) > 1]:
        raise ValueError(
            f"split {twice[0][1]} of {twice[0][0]!r} ({twice[0][2]} items) is in two of the results"
        )
    axes = {name: of for part in reversed(parts) for name, of in part.get("axes", {}).items()}
    rows = [row for part in parts for row in part["rows"]]
    return {**parts[0], "splits": splits, "rows": rows, "axes": axes}


def select(results: Results, **where: Any) -> list[Row]:
    """The rows whose fields have these values; a field not named may have any.

    Example:
        >>> select(results, method="gaussian", control=None, users="unseen", shots=20)
    """
    return [
        row for row in results["rows"] if all(row[field] == value for field, value in where.items())
    ]


def users_of(results: Results, row: Row) -> np.ndarray:
    """Who the per-user values of a row belong to: the ids of the original users, in the order of
    the values.
    """
    for entry in results["splits"]:
        if (entry["data"], entry["split"]) == (row["data"], row["split"]) and row["items"] in entry[
            "items"
        ]:
            return np.asarray(entry["users"][row["users"]])
    raise ValueError(
        f"the results have no split {row['split']} of {row['data']!r} with {row['items']} items"
    )


def per_user(row: Row, metric: str) -> np.ndarray:
    """The per-user values of a row, float64; NaN for a user without test pairs."""
    return np.array(row["per_user"][metric], np.float64)


def _machine() -> dict[str, Any]:
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
