"""Figures of a comparison of methods: differences to the population model, and curves.

There are more methods than colours: lines after the first seven are dashed, then dotted. The
population model is black, thick and drawn last.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lore_jax.data.splits import Holdout
from lore_jax.evaluation.conclusion import average
from lore_jax.evaluation.names import GAUSSIAN
from lore_jax.evaluation.results import Where, select
from lore_jax.evaluation.schema import Metric, Results
from lore_jax.reporting.comparison_tables import (
    difference_intervals,
    fewer_users,
    is_comparison,
    items_of,
    ranked,
    reported_shots,
)
from lore_jax.reporting.figures import COLOURS, MARKERS, freeze_layout, legend_outside, tidy
from lore_jax.reporting.tables import items_label, shots_columns

_HUES = [hue for hue in COLOURS if hue != "#000000"]  # black is the population model's
_DASHES = ("-", "--", ":")
_SCALES: dict[Metric, tuple[float, str]] = {
    "accuracy": (100.0, "accuracy, points (right is better)"),
    "log_loss": (1.0, "log loss, nats (left is better; logarithmic beyond 0.1)"),
}

_LINEAR = 0.1  # nats: so far the axis of log loss is linear

Curve = Mapping[float, Results]  # where on the axis, to the results there


def save_comparison_figures(
    results: Results, folder: str | os.PathLike[str], *, note: str = ""
) -> list[Path]:
    """Draws every figure that the comparison has the numbers for.

    Args:
        results: of a comparison.
        folder: where to; made if it is not there.
        note: said under each figure.

    Returns:
        The files: `differences-ITEMS.png`, `shots-ITEMS.png`, `users-ITEMS.png`.

    Raises:
        OSError: the disk refused.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for items in items_of(results) if is_comparison(results) else []:
        for name, figure in comparison_figures(results, items).items():
            if note:
                freeze_layout(figure)
                figure.text(0.01, -0.01, note, fontsize=8, color="#555555", va="top")
            paths.append(folder / f"{name}-{items.replace(' ', '-')}.png")
            figure.savefig(paths[-1], dpi=150, bbox_inches="tight", pad_inches=0.1)
    return paths


def comparison_figures(results: Results, items: Holdout) -> dict[str, Figure]:
    """The figures of one test: "differences", "shots", "users", as far as there are numbers.

    Args:
        results: of a comparison.
        items: "new items" or "known items".

    Returns:
        Names to figures.

    Example:
        >>> comparison_figures(read_results("run/results.json"), "new items")  # doctest: +SKIP
    """
    figures = {}
    if difference_intervals(results, items, "accuracy"):
        figures["differences"] = differences_figure(results, items)
    shots = {
        float(str(column.shots)): results for column in shots_columns(results, items=items).values()
    }
    if len(shots) > 1 and ranked(results, items):
        label = "shots (comparisons by the unseen user)"
        figures["shots"] = _curves_figure(results, items, shots, label, by_shots=True)
    users = fewer_users(results, items)
    if len(users) > 1:
        label = f"users in the fit; unseen users after {reported_shots(results)} shots"
        figures["users"] = _curves_figure(results, items, users, label, by_shots=False)
    return figures


def differences_figure(results: Results, items: Holdout) -> Figure:
    """Each method minus the population model, with 95 % intervals; the best at the top.

    Args:
        results: of a comparison that has the population model and another method.
        items: "new items" or "known items".

    Returns:
        The figure.
    """
    names = list(difference_intervals(results, items, "log_loss"))
    figure = Figure(figsize=(9.0, 1.4 + 0.32 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(names))[::-1]
    for axes, (metric, (scale, label)) in zip(panels, _SCALES.items(), strict=True):
        intervals = difference_intervals(results, items, metric)
        mean, low, high = scale * np.array([intervals[name] for name in names]).T
        axes.axvline(0.0, color="black", linewidth=1.2)
        bars = [mean - low, high - mean]
        axes.errorbar(mean, place, xerr=bars, fmt="o", color=COLOURS[0], markersize=5, capsize=2)
        axes.set_xlabel(label)
        axes.set_yticks(place, names)
        if metric == "log_loss":  # a method that is sure of what is wrong loses nats, not points
            axes.set_xscale("symlog", linthresh=_LINEAR)
            axes.xaxis.set_major_formatter(_plain)
        tidy(axes)
    shots, asked = reported_shots(results), items_label(items, results)
    title = f"Minus the population model: unseen users, {asked}, {shots} shots"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _plain(tick: float, _: int) -> str:
    return f"{tick:g}"


def _curves_figure(
    results: Results, items: Holdout, curve: Curve, label: str, *, by_shots: bool
) -> Figure:
    """Accuracy of every method along an axis of shots, or of numbers of users in the fit."""
    methods = ranked(results, items)
    figure = Figure(figsize=(8.6, max(4.6, 1.0 + 0.24 * len(methods))), layout="constrained")
    axes = figure.subplots()
    hues = [method for method in sorted(methods) if method != GAUSSIAN]  # the same in all figures
    for method in methods:
        points = []
        for where, part in curve.items():
            after = int(where) if by_shots else reported_shots(results)
            own = Where("unseen", items, method, None, after)
            if select(part, own):
                points.append((where, 100.0 * average(part, own).mean))
        _line(axes, method, points, hues)
    axes.set_xlabel(label)
    axes.set_ylabel("accuracy, macro over users, %")
    ticks = sorted(curve)
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.set_title(f"Unseen users, {items_label(items, results)}", loc="left", fontsize=11)
    tidy(axes)
    legend_outside(figure, axes, "right upper", "lowest log loss first")
    return figure


def _line(
    axes: Axes, method: str, points: Sequence[tuple[float, float]], hues: Sequence[str]
) -> None:
    x, y = np.array(points).T if points else np.zeros((2, 0))
    if method == GAUSSIAN:
        axes.plot(x, y, color="black", linewidth=2.6, marker="o", label=method, zorder=3)
        return
    i = hues.index(method)
    axes.plot(
        x,
        y,
        color=_HUES[i % len(_HUES)],
        linestyle=_DASHES[i // len(_HUES) % len(_DASHES)],
        marker=MARKERS[i % len(MARKERS)],
        linewidth=1.3,
        markersize=5,
        label=method,
    )
