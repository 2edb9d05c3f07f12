"""Figures, drawn from the JSON of an evaluation alone."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lore_jax.data.splits import Holdout
from lore_jax.evaluation import names
from lore_jax.evaluation.calibration import Calibration, errors_of, pool
from lore_jax.evaluation.conclusion import average, difference
from lore_jax.evaluation.intervals import Interval
from lore_jax.evaluation.results import Where, methods_of, select
from lore_jax.evaluation.schema import AxesEntry, ConfidenceCounts, Results, Row
from lore_jax.reporting.tables import is_personal, items_label

# Okabe and Ito's colours, told apart with every kind of colour vision; lines differ in markers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
MARKERS = "osD^vPX*"
_PANEL = (4.4, 4.2)  # inches of a panel with its legend below: on a telephone, letters of 11 px
_DRAWN_BINS = 10  # of a reliability diagram; the error is measured with more
_DRAWN_DENSITY = 25  # bins of the confidences below it

Panel = Literal["accuracy", "gained"]  # of the figure of shots
Dashes = tuple[int, tuple[float, ...]]

_CONTROL_DASHES = {
    names.MISMATCHED_USER: (0, (1, 1.5)),
    names.DONOR: (0, (3, 1.5, 1, 1.5)),
    names.PERMUTED_USERS: (0, (4, 2)),
}
_IMPERSONAL_DASHES: Dashes = (0, (5, 2))  # of methods that are the same for all users


class _Style(TypedDict, total=False):
    label: str
    color: str
    linestyle: str | Dashes
    marker: str
    markersize: int


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
        The files: `shots-ITEMS.png`, `reliability-ITEMS.png`, `users-DATA.png` where users differ.

    Raises:
        OSError: the disk refused.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {}
    unseen: list[Holdout] = [row["items"] for row in select(results, Where(users="unseen"))]
    for items in dict.fromkeys(unseen):
        name = items.replace(" ", "-")
        figures[f"shots-{name}"] = shots_figure(results, items=items, methods=methods)
        figures[f"reliability-{name}"] = reliability_figure(results, items=items, methods=methods)
    for data, described in results.get("axes", {}).items():
        if described["axes"]:
            figures[f"users-{data}" if data else "users"] = users_figure(described, data)
    for name, figure in figures.items():
        if note:  # below the figure: the picture grows by as much
            freeze_layout(figure)
            figure.text(0.01, -0.01, note, fontsize=8, color="#555555", va="top")
        figure.savefig(folder / f"{name}.png", dpi=150, bbox_inches="tight", pad_inches=0.1)
    return [folder / f"{name}.png" for name in figures]


def shots_figure(
    results: Results,
    *,
    items: Holdout = "new items",
    methods: Sequence[str] | None = None,
    panels: Sequence[Panel] = ("accuracy", "gained"),
) -> Figure:
    """Accuracy of unseen users against shots, and the gain over no shots; 95 % intervals.

    Dashed: methods that are the same for all users. Dotted: the mismatched-user control, and
    dashed with dots the donor control; where one meets its method, nothing is personal.

    Args:
        results: from `make_results` or `read_results`.
        items: "new items" or "known items".
        methods: which to draw; None: all.
        panels: accuracy, gain, or both side by side.

    Returns:
        The figure.

    Example:
        >>> shots_figure(read_results("run/results.json")).savefig("shots.png")  # doctest: +SKIP
    """
    both = len(panels) > 1
    figure = Figure(figsize=(10.0, 4.6) if both else _PANEL, layout="constrained")
    axes = dict(zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True))
    left, right = axes.get("accuracy"), axes.get("gained")
    ticks: set[int] = set()
    if right is not None:
        right.axhline(0.0, color="#999999", linewidth=1)
    for i, method in enumerate(methods or methods_of(results)):
        personal = is_personal(results, method)
        for control in (None, *names.CONTROL_LABELS) if personal else (None,):
            where = Where("unseen", items, method, control)
            shots = sorted({row["shots"] or 0 for row in select(results, where)})
            if not shots:
                continue
            ticks |= set(shots)
            style, shade = _style(i, method, control, personal), control is None and personal
            if left is not None:
                means = [average(results, where.also(Where(shots=n))).interval() for n in shots]
                _band(left, shots, means, style, shade=shade)
            if right is not None and personal and control != names.PERMUTED_USERS:
                given, gains = _gains(results, where, shots)
                _band(right, given, gains, style, shade=shade)
    for panel in axes.values():
        tidy(panel)
        panel.set_xticks(sorted(ticks))
        panel.set_xlabel("shots (comparisons by the unseen user)")
    if left is not None:
        left.set_ylabel("accuracy, macro over users, %")
    if right is not None:
        right.set_ylabel("gained over 0 shots, points")
    if both:
        title = f"Unseen users, {items_label(items, results)}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    legend_outside(figure, next(iter(axes.values())), "right center" if both else "lower center")
    return figure


def _style(i: int, method: str, control: names.Control | None, personal: bool) -> _Style:
    """The line of method number `i`, or of its control."""
    if control is not None:
        label = f"{method}, {names.CONTROL_LABELS[control]}"
        return {"label": label, "color": _colour(i), "linestyle": _CONTROL_DASHES[control]}
    if not personal:
        return {"label": method, "color": _colour(i), "linestyle": _IMPERSONAL_DASHES}
    return {"label": method, **_marker(i), "linestyle": "-"}


def _gains(
    results: Results, where: Where, shots: Sequence[int]
) -> tuple[list[int], list[Interval]]:
    """Paired differences to the same method without shots, after each number of shots."""
    population = where.also(Where(control=None, shots=0))
    given = [count for count in shots if count]
    after = [where.also(Where(shots=count)) for count in given]
    gains = [difference(results, shown, population).interval() for shown in after]
    return [0, *given], [Interval(0.0, 0.0, 0.0), *gains]


def _band(
    axes: Axes, shots: Sequence[int], intervals: Sequence[Interval], style: _Style, *, shade: bool
) -> None:
    """A line through means in points, and a band between the ends of their intervals."""
    mean, low, high = 100.0 * np.array(intervals).T
    axes.plot(shots, mean, **style)
    if shade:
        axes.fill_between(shots, low, high, color=style.get("color"), alpha=0.2, linewidth=0)


def reliability_figure(
    results: Results,
    *,
    items: Holdout = "new items",
    shots: int = names.SHOTS,
    methods: Sequence[str] | None = None,
) -> Figure:
    """Confidence against accuracy of unseen users' test pairs of all splits, folded to p > 1/2.

    Args:
        results: from `make_results` or `read_results`.
        items: "new items" or "known items".
        shots: after how many shots; the nearest number that the results have is taken.
        methods: which to draw; None: all.

    Returns:
        The figure: accuracy in bins of equal mass, its bars the noise of the pairs alone (Wilson,
        95 %); below, shares of the pairs.

    Example:
        >>> figure = reliability_figure(read_results("run/results.json"))  # doctest: +SKIP
    """
    unseen = Where("unseen", items)
    shots = names.nearest_shots({row["shots"] or 0 for row in select(results, unseen)}, shots)
    figure = Figure(figsize=(_PANEL[0], 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([50, 100], [50, 100], color="#999999", linewidth=1, label="perfectly calibrated")
    for i, method in enumerate(methods or methods_of(results)):
        rows = select(results, unseen.also(Where(method=method, control=None, shots=shots)))
        counts = [row["calibration"] for row in rows]
        if not rows or not len((drawn := pool(counts, bins=_DRAWN_BINS)).count):
            continue
        _reliability_line(above, drawn, {"label": _ece_label(method, rows), **_marker(i)})
        density = _confidence_density(counts)
        edges = np.linspace(50, 100, len(density) + 1)
        below.stairs(100 * density, edges, color=_colour(i), linewidth=1.2)
    above.set_ylabel("accuracy, %")
    title = f"Unseen users, {items_label(items, results)}, {shots} shots"
    above.set_title(title, loc="left", fontsize=11)
    unit = "expected calibration error (ECE) and its bias, in points"
    legend_outside(figure, above, "lower center", unit)
    below.set_xlabel("confidence, %")
    below.set_ylabel("pairs, %")
    for axes in (above, below):
        tidy(axes)
    return figure


def legend_outside(figure: Figure, axes: Axes, side: str, title: str | None = None) -> None:
    """A legend of what these axes hold, outside of them."""
    style = {"loc": f"outside {side}", "frameon": False, "fontsize": 9, "title_fontsize": 9}
    figure.legend(*axes.get_legend_handles_labels(), title=title, **style)


def _ece_label(method: str, rows: Sequence[Row]) -> str:
    """The errors of each data set, averaged."""
    ece, bias = errors_of(rows)
    return f"{method}: ECE {100 * ece:.1f}, bias {100 * bias:.1f}"


def _reliability_line(axes: Axes, bins: Calibration, style: _Style) -> None:
    low, high = _wilson(bins.accuracy, bins.count)
    bars = 100 * np.maximum([bins.accuracy - low, high - bins.accuracy], 0.0)
    confidence, accuracy = 100 * bins.confidence, 100 * bins.accuracy
    axes.errorbar(confidence, accuracy, bars, linewidth=1.2, elinewidth=0.8, **style)


def _confidence_density(counts: Sequence[ConfidenceCounts]) -> Float[np.ndarray, " bins"]:
    """Share of the pairs in each bin of confidence."""
    density = np.sum([np.asarray(entry["count"], np.float64) for entry in counts], axis=0)
    return density.reshape(_DRAWN_DENSITY, -1).sum(axis=1) / density.sum()


def _wilson(
    share: Float[np.ndarray, " bins"], count: Float[np.ndarray, " bins"]
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Ends of the 95 % interval of a share (Wilson 1927), between 0 and 1, and apart at 0 and 1."""
    z2 = 1.96**2 / count
    middle, reach = share + z2 / 2.0, np.sqrt(z2 * (share * (1.0 - share) + z2 / 4.0))
    return (middle - reach) / (1.0 + z2), (middle + reach) / (1.0 + z2)


def users_figure(described: AxesEntry, data: str = "") -> Figure:
    """Users on the two strongest axes of disagreement; on the only one, how many lie where.

    Args:
        described: from `describe_axes`, with at least one axis.
        data: name of the data set, for the title.

    Returns:
        The figure; the origin is the average user, the cross the population.

    Example:
        >>> users_figure(read_results("run/results.json")["axes"][""])  # doctest: +SKIP
    """
    figure = Figure(figsize=(_PANEL[0], 5.2), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
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
            colour, marker, label = _colour(i), MARKERS[i % len(MARKERS)], labels[name]
            axes.scatter(x, y, size, colour, marker=marker, alpha=0.65, linewidths=0, label=label)
        x, y = described["population"][:2]
        axes.scatter(x, y, 140, "black", marker="+", linewidths=1.6, label="population", zorder=3)
        axes.set_ylabel(f"axis 2 ({shares[1]:.0f} %), standard deviations")
        axes.set_aspect("equal", adjustable="datalim")
    if data:
        axes.set_title(data, loc="left", fontsize=11, parse_math=False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def inline(figure: Figure) -> str:
    """A figure as a data URI (PNG), for a page without files beside it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight", pad_inches=0.08)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def freeze_layout(figure: Figure) -> None:
    """Ends the layout: legends keep their place when text is added below the figure."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for legend in figure.legends:
        box = legend.get_window_extent().transformed(figure.transFigure.inverted())
        legend.borderaxespad = 0.0
        legend.set_loc("lower left")
        legend.set_bbox_to_anchor((box.x0, box.y0), figure.transFigure)


def tidy(axes: Axes) -> None:
    """A light grid, and no frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _marker(i: int) -> _Style:
    return {"color": _colour(i), "marker": MARKERS[i % len(MARKERS)], "markersize": 5}
