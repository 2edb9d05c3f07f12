"""Tables of results: methods and controls down, conditions or shots across, every mean with its
interval; in Markdown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lore_jax.data.splits import Holdout
from lore_jax.evaluation.calibration import pool
from lore_jax.evaluation.conclusion import average
from lore_jax.evaluation.evaluate import MISMATCHED_USER, PERMUTED_USERS
from lore_jax.evaluation.metrics import Interval
from lore_jax.evaluation.results import Results, select

_MEASURES = ("accuracy", "bottom_decile", "log_loss", "brier")
_COUNTS = ("better", "worse")

Fields = Mapping[str, Any]
Cells = list[list[str]]  # of a table, its head first


def table(
    results: Results,
    lines: Mapping[str, Fields],
    columns: Mapping[str, Fields],
    *,
    metric: str = "accuracy",
) -> str:
    """The same as `table_cells`, in Markdown.

    Example:
        >>> print(table(results, method_lines(results), four_way_columns(results, shots=20)))
    """
    return markdown(table_cells(results, lines, columns, metric=metric))


def measures(results: Results, lines: Mapping[str, Fields], condition: Fields) -> str:
    """The same as `measures_cells`, in Markdown.

    Example:
        >>> print(measures(results, method_lines(results), {"users": "unseen", "items": "new items", "shots": 20}))
    """
    return markdown(measures_cells(results, lines, condition))


def table_cells(
    results: Results,
    lines: Mapping[str, Fields],
    columns: Mapping[str, Fields],
    *,
    metric: str = "accuracy",
) -> Cells:
    """A table of averages with 95 % intervals.

    Args:
        results: from `make_results` or `read_results`.
        lines: labels to the fields that a line's rows have. They win over a column's: the
            population is `shots=0` in every column.
        columns: labels to the fields that a column's rows have.
        metric: "accuracy" (shown in points), "log_loss" (in nats) or "brier".

    Returns:
        The conditions, the head first; a condition without rows is empty, and lines without any are left out.
    """
    head = ["", *columns]
    body = []
    for label, line in lines.items():
        conditions = []
        for column in columns.values():
            where = {**column, **line}
            conditions.append(
                show(average(results, where, metric=metric).interval(), metric)
                if select(results, **where)
                else ""
            )
        if any(conditions):
            body.append([label, *conditions])
    return [head, *body]


def measures_cells(results: Results, lines: Mapping[str, Fields], condition: Fields) -> Cells:
    """A table of everything that is measured on one condition, averaged over splits and data sets.

    Calibration is that of all pairs together; beside the error stands what a perfectly calibrated
    method with the same confidences would score. Users who are better or worse off are counted by a
    sign test at 2.5 %, against the same method without shots: by chance at most 2.5 % of the users
    are either.

    Args:
        results: from `make_results` or `read_results`.
        lines: labels to the fields that a line's rows have.
        condition: fields of the rows wanted: users, items, shots.

    Returns:
        The conditions, the head first, without lines that have no rows.
    """
    out = [
        [
            "",
            "accuracy, %",
            "bottom decile, %",
            "log loss, nats",
            "Brier",
            "calibration error (floor)",
            "better off, %",
            "worse off, %",
        ]
    ]
    for label, line in lines.items():
        rows = select(results, **{**condition, **line})
        if not rows:
            continue
        mean = {name: float(np.mean([row[name] for row in rows])) for name in _MEASURES}
        share = {
            name: 100.0 * sum(row[name] for row in rows) / sum(row["num_users"] for row in rows)
            for name in _COUNTS
        }
        calibration = pool([row["calibration"] for row in rows])
        out.append(
            [
                label,
                f"{100 * mean['accuracy']:.1f}",
                f"{100 * mean['bottom_decile']:.1f}",
                f"{mean['log_loss']:.3f}",
                f"{mean['brier']:.3f}",
                f"{calibration.error:.3f} ({calibration.floor:.3f})",
                *(f"{share[name]:.1f}" for name in _COUNTS),
            ]
        )
    return out


def markdown(rows: Cells) -> str:
    """Rows of text as an aligned Markdown table, the first one its head."""
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    text = [
        "| "
        + " | ".join(condition.ljust(width) for condition, width in zip(row, widths, strict=True))
        + " |"
        for row in rows
    ]
    return "\n".join(
        [text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]]
    )


def show(interval: Interval, metric: str = "accuracy") -> str:
    """A mean with its interval: accuracies in points, everything else as it is."""
    if metric == "accuracy":
        mean, low, high = (f"{100.0 * value:.1f}" for value in interval)
    else:
        mean, low, high = (f"{value:.3f}" for value in interval)
    return f"{mean} ({low} to {high})"


def method_lines(results: Results, methods: Sequence[str] | None = None) -> dict[str, Fields]:
    """A line for every method; where users differ in it, one for its population and for its
    controls too.

    Args:
        results: from `make_results` or `read_results`.
        methods: which; None: all.

    Returns:
        Labels to fields, for `table` and `measures`.
    """
    lines: dict[str, Fields] = {}
    for method in methods or dict.fromkeys(row["method"] for row in results["rows"]):
        own: Fields = {"method": method, "control": None}
        if is_personal(results, method):
            lines[f"{method}, 0 shots (population)"] = {**own, "shots": 0}
        lines[method] = own
        controls = dict.fromkeys(row["control"] for row in select(results, method=method))
        for control, label in (
            (MISMATCHED_USER, "another user's weights"),
            (PERMUTED_USERS, "users shuffled"),
        ):
            if control in controls and is_personal(results, method):
                lines[f"{method}, {label}"] = {"method": method, "control": control}
    return lines


def is_personal(results: Results, method: str) -> bool:
    """Whether a method predicts anything else after shots than without any."""
    rows = select(results, method=method, control=None)
    of_nobody = {_cell(row): row["per_user"]["log_loss"] for row in rows if row["shots"] == 0}
    return any(
        row["per_user"]["log_loss"] != of_nobody.get(_cell(row))
        for row in rows
        if row["shots"] != 0
    )


def _cell(row: Any) -> tuple[Any, ...]:
    return row["data"], row["split"], row["users"], row["items"]


def four_way_columns(results: Results, *, shots: int = 20) -> dict[str, Fields]:
    """Columns of the four-way table: seen users with all their pairs, unseen users after some
    shots.
    """
    columns: dict[str, Fields] = {}
    for users in ("seen", "unseen"):
        for items in ("known items", "new items"):
            if select(results, users=users, items=items):
                label = (
                    f"{users} users"
                    + (f" ({shots} shots)" if users == "unseen" else "")
                    + f", {items_label(items, results)}"
                )
                columns[label] = {
                    "users": users,
                    "items": items,
                    "shots": shots if users == "unseen" else None,
                }
    return columns


def items_label(items: Holdout, results: Results) -> str:
    """What the items are: "new prompts", "known responses"."""
    return items.replace("item", results["splits"][0]["group_by"])


def shots_columns(results: Results, *, items: Holdout = "new items") -> dict[str, Fields]:
    """Columns of unseen users after each number of shots."""
    counts = sorted({row["shots"] or 0 for row in select(results, users="unseen", items=items)})
    return {
        f"{count} shots": {"users": "unseen", "items": items, "shots": count} for count in counts
    }
