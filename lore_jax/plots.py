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
from lore_jax.results import Results, select
from lore_jax.tables import is_personal
from lore_jax.verdict import average

# Okabe and Ito's colours, told apart with every kind of colour vision; the lines differ in markers too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
_MARKERS = "osD^vPX*"
_STYLE_OF_CONTROL = {OTHER_USER: (0, (1, 1.5)), SHUFFLED_USERS: (0, (4, 2))}
_LABEL_OF_CONTROL = {OTHER_USER: "another user's weights", SHUFFLED_USERS: "users shuffled"}


def save_figures(results: Results, folder: str | os.PathLike[str], *, note: str = "") -> list[Path]:
    """Draws every figure that the results have the numbers for.

    Args:
        results: from `make_results` or `read_results`.
        folder: where to; made if it is not there.
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
        drawn[f"shots-{units}"] = shots_figure(results, units=units)
        drawn[f"reliability-{units}"] = reliability_figure(results, units=units)
    for data, plane in results["planes"].items():
        drawn[f"users-{data}" if data else "users"] = users_figure(plane, data)
    for name, figure in drawn.items():
        if note:
            figure.supxlabel(note, fontsize=8, color="#555555")
        figure.savefig(folder / f"{name}.png", dpi=150)
    return [folder / f"{name}.png" for name in drawn]


def shots_figure(results: Results, *, units: str = "unseen", methods: Sequence[str] | None = None) -> Figure:
    """Accuracy of unseen users against shots, with 95 % intervals; controls dotted in the colour of their method.

    Args:
        results: from `make_results` or `read_results`.
        units: "unseen" or "seen".
        methods: which to draw; None: all.

    Returns:
        The figure.

    Example:
        >>> shots_figure(read_results("run/results.json")).savefig("shots.png")
    """
    figure, axes = _new_figure(width=8.0)
    for i, method in enumerate(methods or _methods(results)):
        personal = is_personal(results, method)
        controls = [None, *_STYLE_OF_CONTROL] if personal else [None]
        for control in controls:
            rows = select(results, method=method, control=control, users="unseen", units=units)
            counts = sorted({row["shots"] or 0 for row in rows})
            if not counts:
                continue
            where = {"method": method, "control": control, "users": "unseen", "units": units}
            drawn = [average(results, {**where, "shots": count}).interval() for count in counts]
            mean, low, high = 100.0 * np.array(drawn).T
            label = method if control is None else f"{method}, {_LABEL_OF_CONTROL[control]}"
            style: dict[str, Any] = {"color": _colour(i), "label": label, "linestyle": "-"}
            if control is not None:
                axes.plot(counts, mean, **{**style, "linestyle": _STYLE_OF_CONTROL[control]})
            elif personal:
                axes.plot(counts, mean, marker=_MARKERS[i % len(_MARKERS)], **style)
                axes.fill_between(counts, low, high, color=_colour(i), alpha=0.15, linewidth=0)
            else:
                axes.plot(counts, mean, **{**style, "linestyle": (0, (8, 3))})
    axes.set_xlabel("shots (comparisons by the unseen user)")
    axes.set_ylabel("accuracy, macro over users, %")
    axes.set_title(f"Unseen users, {units} {_units(results)}", loc="left", fontsize=11)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    return figure


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
        found = pool([row["calibration"] for row in rows]) if rows else None
        if found is None or not len(found.count):
            continue
        reach = 1.96 * np.sqrt(found.accuracy * (1.0 - found.accuracy) / found.count)
        label = f"{method}: error {100 * found.error:.1f}, floor {100 * found.floor:.1f}"
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
        density = np.sum([np.asarray(row["calibration"]["count"], np.float64) for row in rows], axis=0)
        density = density.reshape(40, -1).sum(axis=1)
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
    figure, axes = _new_figure(width=6.4, height=5.4)
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
    axes.set_title(f"Users in the plane of their weights{data and f': {data}'}", loc="left", fontsize=11)
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
    return figure


def _new_figure(*, width: float, height: float = 4.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _tidy(axes)
    return figure, axes


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
