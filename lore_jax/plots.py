"""Figures, drawn from the JSON of an evaluation and from nothing else. The only file that imports matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lore_jax.calibration import pool
from lore_jax.evaluate import OTHER_USER, SHUFFLED_USERS
from lore_jax.metrics import Interval
from lore_jax.results import Results, select
from lore_jax.tables import is_personal
from lore_jax.verdict import average, difference

# Okabe and Ito's colours, told apart with every kind of colour vision; the lines differ in markers too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
_MARKERS = "osD^vPX*"
_DRAWN_BINS = 10  # of a reliability diagram; the error is measured with more
_STYLE_OF_CONTROL = {OTHER_USER: (0, (1, 1.5)), SHUFFLED_USERS: (0, (4, 2))}
_LABEL_OF_CONTROL = {OTHER_USER: "another user's weights", SHUFFLED_USERS: "users shuffled"}


def save_figures(
    results: Results,
    folder: str | os.PathLike[str],
    *,
    methods: Sequence[str] | None = None,
    note: str = "",
) -> list[Path]:
    """Draws every figure that the results have the numbers for.

    Args:
        results: from `make_results` or `read_results`.
        folder: where to; made if it is not there.
        methods: which to draw; None: all.
        note: said under each figure, for instance where the pairs come from.

    Returns:
        The files written: `shots-UNITS.png`, `reliability-UNITS.png`, and `users-DATA.png` for every plane.

    Raises:
        OSError: the disk refused.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Figure] = {}
    for units in dict.fromkeys(row["units"] for row in select(results, users="unseen")):
        drawn[f"shots-{units}"] = shots_figure(results, units=units, methods=methods)
        drawn[f"reliability-{units}"] = reliability_figure(results, units=units, methods=methods)
    for data, plane in results["planes"].items():
        drawn[f"users-{data}" if data else "users"] = users_figure(plane, data)
    for name, figure in drawn.items():
        if note:
            # Below what the layout has arranged; the page grows by as much.
            figure.text(0.01, -0.01, note, fontsize=8, color="#555555", va="top")
        figure.savefig(folder / f"{name}.png", dpi=150, bbox_inches="tight", pad_inches=0.1)
    return [folder / f"{name}.png" for name in drawn]


def shots_figure(results: Results, *, units: str = "unseen", methods: Sequence[str] | None = None) -> Figure:
    """Accuracy of unseen users against shots, and what is gained over no shots, user by user; 95 % intervals.

    Dashed: methods that are the same for everybody. Dotted, in the colour of its method: the control with another user's
    weights. Where control and method meet, nothing is personal.

    Args:
        results: from `make_results` or `read_results`.
        units: "unseen" or "seen".
        methods: which to draw; None: all.

    Returns:
        The figure.

    Example:
        >>> shots_figure(read_results("run/results.json")).savefig("shots.png")
    """
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    ticks: set[int] = set()
    right.axhline(0.0, color="#999999", linewidth=1)
    for i, method in enumerate(methods or _methods(results)):
        personal = is_personal(results, method)
        for control in (None, *_STYLE_OF_CONTROL) if personal else (None,):
            cell: dict[str, Any] = {"method": method, "control": control, "users": "unseen", "units": units}
            shots = sorted({row["shots"] or 0 for row in select(results, **cell)})
            if not shots:
                continue
            ticks |= set(shots)
            style: dict[str, Any] = {"color": _colour(i), "linestyle": _STYLE_OF_CONTROL.get(control or "", "-")}
            if control is None and personal:
                style |= {"marker": _MARKERS[i % len(_MARKERS)], "markersize": 5}
            elif control is None:
                style["linestyle"] = (0, (5, 2))
            label = method if control is None else f"{method}, {_LABEL_OF_CONTROL[control]}"
            found = [average(results, {**cell, "shots": count}).interval() for count in shots]
            _band(left, shots, found, label, shade=control is None and personal, **style)
            if personal and control != SHUFFLED_USERS:
                nobody = {**cell, "control": None, "shots": 0}
                gained = [difference(results, {**cell, "shots": n}, nobody).interval() for n in shots if n]
                found = [Interval(0.0, 0.0, 0.0), *gained]
                _band(right, [0, *(n for n in shots if n)], found, None, shade=control is None, **style)
    for axes in (left, right):
        _tidy(axes)
        axes.set_xticks(sorted(ticks))
    left.set_ylabel("accuracy, macro over users, %")
    right.set_ylabel("gained over 0 shots of the same method, points")
    figure.suptitle(f"Unseen users, {units} {_units(results)}", x=0.01, ha="left", fontsize=11)
    figure.supxlabel("shots (comparisons by the unseen user)", fontsize=10)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def _band(
    axes: Axes, shots: Sequence[int], found: Sequence[Interval], label: str | None, *, shade: bool, **style: Any
) -> None:
    """A line through means in points, and a band between the ends of their intervals."""
    mean, low, high = 100.0 * np.array(found).T
    axes.plot(shots, mean, label=label, **style)
    if shade:
        axes.fill_between(shots, low, high, color=style["color"], alpha=0.15, linewidth=0)


def reliability_figure(
    results: Results, *, units: str = "unseen", shots: int = 20, methods: Sequence[str] | None = None
) -> Figure:
    """Confidence against accuracy of unseen users' test pairs, all splits together, each pair on its confident side.

    Args:
        results: from `make_results` or `read_results`.
        units: "unseen" or "seen".
        shots: after how many shots; the nearest number that the results have is taken.
        methods: which to draw; None: all.

    Returns:
        The figure: accuracy with 95 % bars in bins of equal mass, and below how the pairs are spread over confidence.

    Example:
        >>> reliability_figure(read_results("run/results.json"), shots=10).savefig("reliability.png")
    """
    counts = sorted({row["shots"] or 0 for row in select(results, users="unseen", units=units)})
    shots = min(counts, key=lambda count: abs(count - shots))
    figure = Figure(figsize=(8.0, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([50, 100], [50, 100], color="#999999", linewidth=1, label="perfectly calibrated")
    for i, method in enumerate(methods or _methods(results)):
        rows = select(results, method=method, control=None, users="unseen", units=units, shots=shots)
        counted = [row["calibration"] for row in rows]
        if not rows or not len((found := pool(counted, bins=_DRAWN_BINS)).count):
            continue
        reach = 1.96 * np.sqrt(found.accuracy * (1.0 - found.accuracy) / found.count)
        measured = pool(counted)
        label = f"{method}: error {100 * measured.error:.1f}, floor {100 * measured.floor:.1f}"
        style: dict[str, Any] = {"color": _colour(i), "marker": _MARKERS[i % len(_MARKERS)], "markersize": 5}
        above.errorbar(
            100 * found.confidence,
            100 * found.accuracy,
            100 * reach,
            label=label,
            linewidth=1.2,
            elinewidth=0.8,
            **style,
        )
        density = np.sum([np.asarray(entry["count"], np.float64) for entry in counted], axis=0)
        density = density.reshape(25, -1).sum(axis=1)
        edges = np.linspace(50, 100, len(density) + 1)
        below.stairs(100 * density / density.sum(), edges, color=_colour(i), linewidth=1.2)
    above.set_ylabel("accuracy, %")
    above.set_title(f"Unseen users, {units} {_units(results)}, {shots} shots", loc="left", fontsize=11)
    above.legend(
        loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9, title="calibration, in points"
    )
    below.set_xlabel("confidence, %")
    below.set_ylabel("pairs, %")
    for axes in (above, below):
        _tidy(axes)
    return figure


def users_figure(plane: Mapping[str, Any], data: str = "") -> Figure:
    """Users in the plane of the two strongest departures from the population.

    Args:
        plane: from `plane.user_plane`.
        data: name of the data set, for the title.

    Returns:
        The figure; the population is the cross in the middle.

    Example:
        >>> users_figure(read_results("run/results.json")["planes"][""]).savefig("users.png")
    """
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    axes = figure.subplots()
    _tidy(axes)
    many = sum(len(points) for points in plane["groups"].values())
    size = float(np.clip(6000.0 / max(many, 1), 4.0, 30.0))
    for i, (name, points) in enumerate(plane["groups"].items()):
        x, y = np.array(points, np.float64).reshape(-1, 2).T
        label = f"{name} ({len(x):,})"
        axes.scatter(x, y, s=size, color=_colour(i), alpha=0.65, linewidths=0, marker=_MARKERS[i % 8], label=label)
    axes.scatter([0], [0], s=140, color="black", marker="+", linewidths=1.6, label="population", zorder=3)
    first, second = (100.0 * share for share in plane["share"])
    axes.set_xlabel(f"first direction of departure, logits ({first:.0f} % of the departures)")
    axes.set_ylabel(f"second direction, logits ({second:.0f} %)")
    axes.set_title(
        "\n".join(["Users in the plane of their weights", *([data] if data else [])]), loc="left", fontsize=11
    )
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
    return figure


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)


def _methods(results: Results) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in results["rows"]))


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]


def _units(results: Results) -> str:
    return results["splits"][0]["unit"] + "s"
