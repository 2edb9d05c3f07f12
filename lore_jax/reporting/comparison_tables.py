"""Tables of a comparison of methods: accuracy and cost, paired differences, curves, what failed.

Methods stand in the order of their log loss, the best first; those that could not run come last,
with the reason. A method that ran on some of the splits only is averaged over those, which its
label says; differences are always over the splits that both methods have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lore_jax.data.splits import Holdout
from lore_jax.evaluation.calibration import errors_of
from lore_jax.evaluation.conclusion import average, difference
from lore_jax.evaluation.intervals import Interval
from lore_jax.evaluation.names import GAUSSIAN, nearest_shots
from lore_jax.evaluation.results import Where, select
from lore_jax.evaluation.schema import FitEntry, Metric, Results
from lore_jax.reporting.tables import Cells, items_label, markdown, shots_columns, show, table_cells

_NONE = "\u2013"


def is_comparison(results: Results) -> bool:
    """Whether results compare methods."""
    return bool(results.get("fits"))


def items_of(results: Results) -> list[Holdout]:
    """The tests of a comparison, new items first."""
    tests = {entry["items"] for entry in _fits(results)}
    return [items for items in ("new items", "known items") if items in tests]


def reported_shots(results: Results) -> int:
    """The shots of the tables: 20, or the nearest number that there is."""
    return nearest_shots({row["shots"] or 0 for row in select(results, Where("unseen"))})


def ranked(results: Results, items: Holdout) -> list[str]:
    """The methods that have rows on a test, the lowest log loss first."""
    where = Where("unseen", items, control=None, shots=reported_shots(results))
    loss = {
        method: average(results, where.also(Where(method=method)), metric="log_loss").mean
        for method in _compared(results)
        if select(results, where.also(Where(method=method)))
    }
    return sorted(loss, key=loss.__getitem__)


def comparison_cells(results: Results, items: Holdout) -> Cells:
    """Every method on unseen users after the reported shots, and what it costs.

    Seconds to choose and to fit are the mean over splits, set beside the budget where they exceed
    it; parameters and milliseconds are medians.

    Args:
        results: of a comparison.
        items: "new items" or "known items".

    Returns:
        The cells, the head first.
    """
    where = Where("unseen", items, control=None, shots=reported_shots(results))
    head = ["", "accuracy, %", "log loss, nats", "ECE (bias)", "bottom decile, %", "parameters"]
    head += ["seconds to fit", "compiling, s", "one user, ms", "1,000 users, ms", "note"]
    body = []
    for method in ranked(results, items):
        own = where.also(Where(method=method))
        rows = select(results, own)
        fits = [fit for fit in _of(results, method, items) if fit["note"] is None]
        ece, bias = errors_of(rows)
        body.append(
            [
                method,
                show(average(results, own).interval()),
                f"{average(results, own, metric='log_loss').mean:.3f}",
                f"{ece:.3f} ({bias:.3f})",
                f"{100 * float(np.mean([row['bottom_decile'] for row in rows])):.1f}",
                f"{np.median(_numbers(fits, 'parameters')):,.0f}",
                _seconds(fits, results.get("budget")),
                f"{np.mean(_numbers(fits, 'compile_seconds')):.1f}",
                _three_digits(float(np.median(_numbers(fits, "adapt_one_ms")))),
                _three_digits(float(np.median(_numbers(fits, "adapt_thousand_ms")))),
                _coverage(results, method, items),
            ]
        )
    for method in _compared(results):
        if all(line[0] != method for line in body):
            reasons = dict.fromkeys(fit["note"] or "" for fit in _of(results, method, items))
            body.append([method, *[_NONE] * (len(head) - 2), "; ".join(reasons)])
    return [head, *body]


def difference_intervals(results: Results, items: Holdout, metric: Metric) -> dict[str, Interval]:
    """Each method minus the population model, user by user and item by item, where both ran.

    Args:
        results: of a comparison that has the population model.
        items: "new items" or "known items".
        metric: of what; log loss is better where it is lower.

    Returns:
        Methods, the lowest log loss first, to intervals for new users and items; none where the
        population model has no rows.
    """
    where = Where("unseen", items, control=None, shots=reported_shots(results))
    reference = where.also(Where(method=GAUSSIAN))
    intervals = {}
    for method in ranked(results, items):
        own = where.also(Where(method=method))
        splits = {(row["data"], row["split"]) for row in select(results, own)}
        common = splits & {(row["data"], row["split"]) for row in select(results, reference)}
        if method != GAUSSIAN and common:
            rows = [row for row in results["rows"] if (row["data"], row["split"]) in common]
            paired: Results = {**results, "rows": rows}
            intervals[method] = difference(paired, own, reference, metric=metric).interval()
    return intervals


def difference_cells(results: Results, items: Holdout) -> Cells:
    """A table of `difference_intervals`, in points of accuracy and in nats."""
    accuracy = difference_intervals(results, items, "accuracy")
    loss = difference_intervals(results, items, "log_loss")
    head = [f"minus {GAUSSIAN}", "accuracy, points", "log loss, nats (lower is better)"]
    lines = [[name, show(accuracy[name]), show(loss[name], "log_loss")] for name in accuracy]
    return [head, *lines]


def shots_cells(results: Results, items: Holdout) -> Cells:
    """Accuracy of unseen users after each number of shots."""
    lines = {method: Where(method=method, control=None) for method in ranked(results, items)}
    return table_cells(results, lines, shots_columns(results, items=items))


def fewer_users(results: Results, items: Holdout) -> dict[float, Results]:
    """Results of unseen users by the mean number of users in the fit, the fewest first.

    Args:
        results: of a comparison.
        items: "new items" or "known items".

    Returns:
        Numbers of users to results, the whole fit last; it alone where no others were made.
    """
    parts = {float(share): rows for share, rows in results.get("fewer_users", {}).items()}
    parts[1.0] = select(results, Where("unseen", items, shots=reported_shots(results)))
    by_count: dict[float, Results] = {}
    for share in sorted(parts):
        rows = [row for row in parts[share] if Where(items=items, control=None).matches(row)]
        count = [fit["users"] for fit in _fits(results) if _is(fit, items, share)]
        if rows:
            by_count[float(np.mean(count))] = {**results, "rows": rows}
    return by_count


def users_cells(results: Results, items: Holdout) -> Cells:
    """Accuracy of unseen users by the number of users in the fit, after the reported shots."""
    after = Where("unseen", items, control=None, shots=reported_shots(results))
    columns = fewer_users(results, items)
    body = []
    for method in ranked(results, items):
        own = after.also(Where(method=method))
        cells = [
            show(average(part, own).interval()) if select(part, own) else _NONE
            for part in columns.values()
        ]
        body.append([method, *cells])
    return [["", *(f"{count:,.0f} users" for count in columns)], *body]


def data_cells(results: Results, items: Holdout) -> Cells:
    """Accuracy on each data set, the data sets across."""
    data = dict.fromkeys(entry["data"] for entry in results["splits"])
    after = Where("unseen", items, shots=reported_shots(results))
    lines = {method: Where(method=method, control=None) for method in ranked(results, items)}
    return table_cells(results, lines, {name: after.also(Where(data=name)) for name in data})


def comparison_markdown(results: Results) -> str:
    """All tables of a comparison, in Markdown."""
    shots = reported_shots(results)
    paragraphs = []
    for items in items_of(results):
        title = f"Unseen users, {items_label(items, results)}, {shots} shots"
        paragraphs += [f"## {title}", markdown(comparison_cells(results, items))]
        # A table of one column says no more than the first one.
        for text, cells, least in (
            ("Paired differences, 95 % intervals for new users and items:", difference_cells, 2),
            ("Accuracy by data set, %:", data_cells, 3),
            ("Accuracy after some shots, %:", shots_cells, 3),
            ("Accuracy by the number of users in the fit, %:", users_cells, 3),
        ):
            head, *lines = cells(results, items)
            if lines and len(head) >= least:
                paragraphs += [text, markdown([head, *lines])]
    return "\n\n".join(paragraphs)


def _fits(results: Results) -> Sequence[FitEntry]:
    return results.get("fits", [])


def _compared(results: Results) -> list[str]:
    """The methods in the order of the fits, those without rows too."""
    return list(dict.fromkeys(fit["method"] for fit in _fits(results)))


def _is(fit: FitEntry, items: Holdout, share: float) -> bool:
    return fit["items"] == items and fit["user_share"] == share


def _of(results: Results, method: str, items: Holdout) -> list[FitEntry]:
    """The fits of a method to all seen users."""
    return [fit for fit in _fits(results) if fit["method"] == method and _is(fit, items, 1.0)]


def _numbers(fits: Sequence[Mapping[str, object]], name: str) -> list[float]:
    return [float(str(fit[name])) for fit in fits if fit[name] is not None]


def _seconds(fits: Sequence[FitEntry], budget: float | None) -> str:
    seconds = float(np.mean(_numbers(fits, "seconds")))
    over = budget is not None and seconds > budget
    return f"{seconds:.1f} (over {budget:g})" if over else f"{seconds:.1f}"


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _coverage(results: Results, method: str, items: Holdout) -> str:
    """On how many splits a method ran, and why not on the others."""
    fits = _of(results, method, items)
    failed = [fit["note"] for fit in fits if fit["note"] is not None]
    if not failed:
        return ""
    return f"ran on {len(fits) - len(failed)} of {len(fits)}: {'; '.join(dict.fromkeys(failed))}"
