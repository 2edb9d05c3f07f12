"""Figures, drawn from the JSON of an evaluation and from nothing else.

The only file that imports matplotlib.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lore_jax.data.splits import Holdout
from lore_jax.evaluation.calibration import pool
from lore_jax.evaluation.conclusion import average, difference
from lore_jax.evaluation.evaluate import MISMATCHED_USER, PERMUTED_USERS
from lore_jax.evaluation.metrics import Interval
from lore_jax.evaluation.results import Results, select
from lore_jax.reporting.tables import is_personal, items_label

# Okabe and Ito's colours, told apart with every kind of colour vision; the lines differ in markers
# too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
_MARKERS = "osD^vPX*"
Panel = Literal["accuracy", "gained"]  # of the figure of shots
_PANEL = (
    5.2,
    4.6,
)  # inches of a figure of one panel, its legend below: readable on a telephone too
_DRAWN_BINS = 10  # of a reliability diagram; the error is measured with more
_STYLE_OF_CONTROL = {MISMATCHED_USER: (0, (1, 1.5)), PERMUTED_USERS: (0, (4, 2))}
_LABEL_OF_CONTROL = {MISMATCHED_USER: "another user's weights", PERMUTED_USERS: "users shuffled"}


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
        The files written: `shots-ITEMS.png`, `reliability-ITEMS.png`, and `users-DATA.png` where
            users differ.

    Raises:
        OSError: the disk refused.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Figure] = {}
    for items in dict.fromkeys(row["items"] for row in select(results, users="unseen")):
        drawn[f"shots-{items.replace(' ', '-')}"] = shots_figure(
            results, items=items, methods=methods
        )
        drawn[f"reliability-{items.replace(' ', '-')}"] = reliability_figure(
            results, items=items, methods=methods
        )
    for data, described in results.get("axes", {}).items():
        if described["axes"]:
            drawn[f"users-{data}" if data else "users"] = users_figure(described, data)
    for name, figure in drawn.items():
        if note:
            _settle(figure)
            figure.text(
                0.01, -0.01, note, fontsize=8, color="#555555", va="top"
            )  # the page grows by as much
        figure.savefig(folder / f"{name}.png", dpi=150, bbox_inches="tight", pad_inches=0.1)
    return [folder / f"{name}.png" for name in drawn]


def shots_figure(
    results: Results,
    *,
    items: Holdout = "new items",
    methods: Sequence[str] | None = None,
    panels: Sequence[Panel] = ("accuracy", "gained"),
) -> Figure:
    """Accuracy of unseen users against shots, and what is gained over no shots, user by user; 95 %
    intervals.

    Dashed: methods that are the same for everybody. Dotted, in the colour of its method: the
    control with another user's weights. Where control and method meet, nothing is personal.

    Args:
        results: from `make_results` or `read_results`.
        items: "new items" or "known items".
        methods: which to draw; None: all.
        panels: accuracy, what is gained, or both side by side.

    Returns:
        The figure.

    Example:
        >>> shots_figure(read_results("run/results.json")).savefig("shots.png")
    """
    both = len(panels) > 1
    figure = Figure(figsize=(10.0, 4.6) if both else _PANEL, layout="constrained")
    axes = dict(zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True))
    left, right = axes.get("accuracy"), axes.get("gained")
    ticks: set[int] = set()
    if right is not None:
        right.axhline(0.0, color="#999999", linewidth=1)
    for i, method in enumerate(methods or _methods(results)):
        personal = is_personal(results, method)
        for control in (None, *_STYLE_OF_CONTROL) if personal else (None,):
            condition: dict[str, Any] = {
                "method": method,
                "control": control,
                "users": "unseen",
                "items": items,
            }
            shots = sorted({row["shots"] or 0 for row in select(results, **condition)})
            if not shots:
                continue
            ticks |= set(shots)
            style: dict[str, Any] = {
                "color": _colour(i),
                "linestyle": _STYLE_OF_CONTROL.get(control or "", "-"),
            }
            if control is None and personal:
                style |= {"marker": _MARKERS[i % len(_MARKERS)], "markersize": 5}
            elif control is None:
                style["linestyle"] = (0, (5, 2))
            label = method if control is None else f"{method}, {_LABEL_OF_CONTROL[control]}"
            if left is not None:
                found = [
                    average(results, {**condition, "shots": count}).interval() for count in shots
                ]
                _band(left, shots, found, label, shade=control is None and personal, **style)
            if right is not None and personal and control != PERMUTED_USERS:
                nobody = {**condition, "control": None, "shots": 0}
                gained = [
                    difference(results, {**condition, "shots": n}, nobody).interval()
                    for n in shots
                    if n
                ]
                found = [Interval(0.0, 0.0, 0.0), *gained]
                _band(
                    right,
                    [0, *(n for n in shots if n)],
                    found,
                    label,
                    shade=control is None,
                    **style,
                )
    for panel in axes.values():
        _tidy(panel)
        panel.set_xticks(sorted(ticks))
        panel.set_xlabel("shots (comparisons by the unseen user)")
    if left is not None:
        left.set_ylabel("accuracy, macro over users, %")
    if right is not None:
        right.set_ylabel("gained over 0 shots of the same method, points")
    if both:
        figure.suptitle(
            f"Unseen users, {items_label(items, results)}", x=0.01, ha="left", fontsize=11
        )
    handles, labels = next(iter(axes.values())).get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside right center" if both else "outside lower center",
        frameon=False,
        fontsize=9,
    )
    return figure


def _band(
    axes: Axes,
    shots: Sequence[int],
    found: Sequence[Interval],
    label: str,
    *,
    shade: bool,
    **style: Any,
) -> None:
    """A line through means in points, and a band between the ends of their intervals."""
    mean, low, high = 100.0 * np.array(found).T
    axes.plot(shots, mean, label=label, **style)
    if shade:
        axes.fill_between(shots, low, high, color=style["color"], alpha=0.15, linewidth=0)


def reliability_figure(
    results: Results,
    *,
    items: Holdout = "new items",
    shots: int = 20,
    methods: Sequence[str] | None = None,
) -> Figure:
    """Confidence against accuracy of unseen users' test pairs, all splits together, each pair on
    its confident side.

    Args:
        results: from `make_results` or `read_results`.
        items: "new items" or "known items".
        shots: after how many shots; the nearest number that the results have is taken.
        methods: which to draw; None: all.

    Returns:
        The figure: accuracy with 95 % bars in bins of equal mass, and below how the pairs are
            spread over confidence.

    Example:
        >>> reliability_figure(read_results("run/results.json"), shots=10).savefig("reliability.png")
    """
    counts = sorted({row["shots"] or 0 for row in select(results, users="unseen", items=items)})
    shots = min(counts, key=lambda count: abs(count - shots))
    figure = Figure(figsize=(_PANEL[0], 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([50, 100], [50, 100], color="#999999", linewidth=1, label="perfectly calibrated")
    for i, method in enumerate(methods or _methods(results)):
        rows = select(
            results, method=method, control=None, users="unseen", items=items, shots=shots
        )
        counted = [row["calibration"] for row in rows]
        if not rows or not len((found := pool(counted, bins=_DRAWN_BINS)).count):
            continue
        low, high = _wilson(found.accuracy, found.count)
        measured = pool(counted)
        label = f"{method}: error {100 * measured.error:.1f}, floor {100 * measured.floor:.1f}"
        style: dict[str, Any] = {
            "color": _colour(i),
            "marker": _MARKERS[i % len(_MARKERS)],
            "markersize": 5,
        }
        above.errorbar(
            100 * found.confidence,
            100 * found.accuracy,
            100 * np.maximum([found.accuracy - low, high - found.accuracy], 0.0),
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
    above.set_title(
        f"Unseen users, {items_label(items, results)}, {shots} shots", loc="left", fontsize=11
    )
    handles, labels = above.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        frameon=False,
        fontsize=9,
        title="calibration, in points",
        title_fontsize=9,
    )
    below.set_xlabel("confidence, %")
    below.set_ylabel("pairs, %")
    for axes in (above, below):
        _tidy(axes)
    return figure


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % interval of a share (Wilson 1927), which stay between 0 and 1 and are apart
    at 0 and 1.
    """
    z2 = 1.96**2 / count
    middle, reach = share + z2 / 2.0, np.sqrt(z2 * (share * (1.0 - share) + z2 / 4.0))
    return (middle - reach) / (1.0 + z2), (middle + reach) / (1.0 + z2)


def users_figure(described: Mapping[str, Any], data: str = "") -> Figure:
    """Users on the two strongest axes of disagreement; on the only one, how many stand where.

    Args:
        described: from `describe_axes`, with at least one axis.
        data: name of the data set, for the title.

    Returns:
        The figure; the origin is the average user, the cross the population.

    Example:
        >>> users_figure(read_results("run/results.json")["axes"][""]).savefig("users.png")
    """
    figure = Figure(figsize=(_PANEL[0], 5.2), layout="constrained")
    axes = figure.subplots()
    _tidy(axes)
    shares = [100.0 * axis["share"] for axis in described["axes"]]
    groups = {
        name: np.array(scores, np.float64).reshape(-1, len(shares))
        for name, scores in described["groups"].items()
    }
    size = float(np.clip(6000.0 / max(sum(map(len, groups.values())), 1), 4.0, 30.0))
    labels = {name: f"{name} ({len(scores):,})" for name, scores in groups.items()}
    axes.set_xlabel(f"axis 1 ({shares[0]:.0f} % of the disagreement), standard deviations")
    if len(shares) == 1:
        edges = np.histogram_bin_edges(np.concatenate(list(groups.values())), bins=24)
        for i, (name, scores) in enumerate(groups.items()):
            axes.hist(scores[:, 0], edges.tolist(), color=_colour(i), alpha=0.6, label=labels[name])
        axes.axvline(described["population"][0], color="black", linewidth=1.6, label="population")
        axes.set_ylabel("users")
    else:
        for i, (name, scores) in enumerate(groups.items()):
            x, y = scores[:, :2].T
            style: dict[str, Any] = {"color": _colour(i), "marker": _MARKERS[i % len(_MARKERS)]}
            axes.scatter(x, y, s=size, alpha=0.65, linewidths=0, label=labels[name], **style)
        axes.scatter(
            *described["population"][:2],
            s=140,
            color="black",
            marker="+",
            linewidths=1.6,
            label="population",
            zorder=3,
        )
        axes.set_ylabel(f"axis 2 ({shares[1]:.0f} %), standard deviations")
        axes.set_aspect("equal", adjustable="datalim")
    if data:
        axes.set_title(data, loc="left", fontsize=11, parse_math=False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def inline(figure: Figure) -> str:
    """A figure as a data URI (PNG), to stand in a page without a file of its own."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight", pad_inches=0.08)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _settle(figure: Figure) -> None:
    """Ends the layout; legends stay where they are in the figure, and do not go to the edge of a
    page that grows.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for legend in figure.legends:
        place = legend.get_window_extent().transformed(figure.transFigure.inverted())
        legend.borderaxespad = 0.0
        legend.set_loc("lower left")
        legend.set_bbox_to_anchor((place.x0, place.y0), figure.transFigure)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)


def _methods(results: Results) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in results["rows"]))


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]
