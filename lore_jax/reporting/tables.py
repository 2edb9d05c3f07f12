"""Tables of results, in Markdown: methods and controls down, conditions or shots across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from lore_jax.data.splits import Holdout, Users
from lore_jax.evaluation.calibration import errors_of
from lore_jax.evaluation.conclusion import average
from lore_jax.evaluation.intervals import Interval
from lore_jax.evaluation.names import CONTROL_LABELS, SHOTS
from lore_jax.evaluation.results import Where, methods_of, select
from lore_jax.evaluation.schema import Metric, Results, Row

Cells = list[list[str]]  # of a table, its head first
Labels = Mapping[str, Where]  # of lines or columns, to the rows that they are about


def table(results: Results, lines: Labels, columns: Labels, *, metric: Metric = "accuracy") -> str:
    """The same as `table_cells`, in Markdown.

    Example:
        >>> lines, columns = method_lines(results), shots_columns(results)  # doctest: +SKIP
        >>> print(table(results, lines, columns))  # doctest: +SKIP
    """
    return markdown(table_cells(results, lines, columns, metric=metric))


def measures(results: Results, lines: Labels, condition: Where) -> str:
    """The same as `measures_cells`, in Markdown.

    Example:
        >>> condition = Where(users="unseen", items="new items", shots=20)
        >>> print(measures(results, method_lines(results), condition))  # doctest: +SKIP
    """
    return markdown(measures_cells(results, lines, condition))


def table_cells(
    results: Results, lines: Labels, columns: Labels, *, metric: Metric = "accuracy"
) -> Cells:
    """A table of averages with 95 % intervals.

    Args:
        results: from `make_results` or `read_results`.
        lines: labels to rows. A line wins over a column: the population is `shots=0` in every one.
        columns: labels to rows.
        metric: "accuracy" (shown in points), "log_loss" (in nats) or "brier".

    Returns:
        The cells, the head first; a cell without rows is empty, and lines without any are left out.
    """

    def cell(where: Where) -> str:
        rows = select(results, where)
        return show(average(results, where, metric=metric).interval(), metric) if rows else ""

    body = [
        [label, *(cell(column.also(line)) for column in columns.values())]
        for label, line in lines.items()
    ]
    return [["", *columns], *(cells for cells in body if any(cells[1:]))]


def measures_cells(results: Results, lines: Labels, condition: Where) -> Cells:
    """A table of everything that is measured on one condition, averaged over splits and data sets.

    The expected calibration error (ECE) is that of all pairs of a data set together, averaged over
    data sets, and so is its bias, which is what a calibrated model with the same confidences would
    score on as many pairs. Gained and lost: users whose accuracy is higher, or lower, than with the
    same method without shots.

    Args:
        results: from `make_results` or `read_results`.
        lines: labels to rows.
        condition: users, items and shots.

    Returns:
        The cells, the head first, without lines that have no rows.
    """
    rows = {label: select(results, condition.also(line)) for label, line in lines.items()}
    shown = {label: _measures(some) for label, some in rows.items() if some}
    head = next(iter(shown.values()), {})
    return [["", *head], *([label, *measured.values()] for label, measured in shown.items())]


def _measures(rows: Sequence[Row]) -> dict[str, str]:
    def mean(name: Literal["accuracy", "bottom_decile", "log_loss", "brier"]) -> float:
        return float(np.mean([row[name] for row in rows]))

    def percent(name: Literal["better", "worse"]) -> float:
        return 100.0 * sum(row[name] for row in rows) / sum(row["num_users"] for row in rows)

    ece, bias = errors_of(rows)
    return {
        "accuracy, %": f"{100 * mean('accuracy'):.1f}",
        "bottom decile, %": f"{100 * mean('bottom_decile'):.1f}",
        "log loss, nats": f"{mean('log_loss'):.3f}",
        "Brier": f"{mean('brier'):.3f}",
        "ECE (bias)": f"{ece:.3f} ({bias:.3f})",
        "gained, %": f"{percent('better'):.1f}",
        "lost, %": f"{percent('worse'):.1f}",
    }


def markdown(rows: Cells) -> str:
    """Rows of text as an aligned Markdown table, the first one its head.

    Example:
        >>> print(markdown([["", "accuracy"], ["gaussian", "65.8"]]))
        |          | accuracy |
        |----------|----------|
        | gaussian | 65.8     |
    """
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    lines = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in rows
    ]
    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([lines[0], rule, *lines[1:]])


def show(interval: Interval, metric: Metric = "accuracy") -> str:
    """A mean with its interval: accuracies in points, everything else as it is.

    Example:
        >>> show(Interval(0.658, 0.641, 0.673))
        '65.8 (64.1 to 67.3)'
    """
    scale, digits = (100.0, 1) if metric == "accuracy" else (1.0, 3)
    mean, low, high = (f"{scale * value:.{digits}f}" for value in interval)
    return f"{mean} ({low} to {high})"


def method_lines(results: Results, methods: Sequence[str] | None = None) -> dict[str, Where]:
    """A line for every method; for one that personalises, also its population and its controls.

    Args:
        results: from `make_results` or `read_results`.
        methods: which; None: all.

    Returns:
        Labels to rows, for `table` and `measures`.
    """
    lines: dict[str, Where] = {}
    for method in methods or methods_of(results):
        own = Where(method=method, control=None)
        if not is_personal(results, method):
            lines[method] = own
            continue
        lines[f"{method}, 0 shots (population)"] = own.also(Where(shots=0))
        lines[method] = own
        for control, label in CONTROL_LABELS.items():
            if select(results, where := Where(method=method, control=control)):
                lines[f"{method}, {label}"] = where
    return lines


def is_personal(results: Results, method: str) -> bool:
    """Whether a method predicts anything else after shots than without any."""
    rows = select(results, Where(method=method, control=None))
    before = {_condition(row): row["per_user"]["log_loss"] for row in rows if row["shots"] == 0}
    after = [row for row in rows if row["shots"] != 0]
    return any(row["per_user"]["log_loss"] != before.get(_condition(row)) for row in after)


def _condition(row: Row) -> tuple[str, int, Users, Holdout]:
    return row["data"], row["split"], row["users"], row["items"]


def four_way_columns(results: Results, *, shots: int = SHOTS) -> dict[str, Where]:
    """Columns of the 2 x 2 hold-out: seen users with all their pairs, unseen users after shots."""
    columns: dict[str, Where] = {}
    for users in ("seen", "unseen"):
        for items in ("known items", "new items"):
            if select(results, Where(users, items)):
                given, after = (shots, f" ({shots} shots)") if users == "unseen" else (None, "")
                label = f"{users} users{after}, {items_label(items, results)}"
                columns[label] = Where(users, items, shots=given)
    return columns


def items_label(items: Holdout, results: Results) -> str:
    """What the items are: "new prompts", "known responses"."""
    return items.replace("item", results["splits"][0]["group_by"])


def shots_columns(results: Results, *, items: Holdout = "new items") -> dict[str, Where]:
    """Columns of unseen users after each number of shots."""
    where = Where("unseen", items)
    counts = sorted({row["shots"] or 0 for row in select(results, where)})
    return {f"{count} shots": where.also(Where(shots=count)) for count in counts}
