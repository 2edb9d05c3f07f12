"""Figures of a comparison draw what the tables say."""

import numpy as np

from lore_jax.evaluation.results import Where, select
from lore_jax.reporting.comparison_figures import (
    comparison_figures,
    differences_figure,
    save_comparison_figures,
)
from lore_jax.reporting.comparison_tables import difference_intervals


def test_every_figure_appears(results, comparison, tmp_path):
    paths = save_comparison_figures(comparison, tmp_path / "figures", note="Toy.")
    assert [path.name for path in paths] == [
        "differences-new-items.png",
        "shots-new-items.png",
        "users-new-items.png",
    ]
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in paths)
    assert save_comparison_figures(results, tmp_path / "none") == []


def test_differences_are_drawn_best_first(comparison):
    axes = differences_figure(comparison, "new items").axes
    for panel, metric, scale in zip(axes, ("accuracy", "log_loss"), (100, 1), strict=True):
        found = difference_intervals(comparison, "new items", metric)
        drawn = panel.containers[0].lines[0]
        means = scale * np.array([interval.mean for interval in found.values()])
        np.testing.assert_allclose(drawn.get_xdata(), means)
        assert list(drawn.get_ydata()) == [1, 0]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list(
        difference_intervals(comparison, "new items", "log_loss")
    )


def test_curves_are_the_means_of_the_rows(comparison):
    figures = comparison_figures(comparison, "new items")
    lines = {line.get_label(): line for line in figures["shots"].axes[0].lines}
    assert set(lines) == {"gaussian", "bradley-terry", "once"}
    for shots, drawn in zip(*lines["gaussian"].get_data(), strict=True):
        where = Where("unseen", "new items", "gaussian", shots=int(shots))
        rows = select(comparison, where)
        np.testing.assert_allclose(drawn, 100 * np.mean([row["accuracy"] for row in rows]))
    (axes,) = figures["users"].axes
    drawn = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert drawn == {"gaussian": [20, 40], "bradley-terry": [20, 40], "once": [40]}


def test_sixteen_methods_are_told_apart(comparison):
    rows = [row for row in comparison["rows"] if row["method"] == "gaussian"]
    names = ["gaussian", *map(str, range(15))]
    many = [{**row, "method": name} for row in rows for name in names]
    fits = [{**fit, "method": name} for fit in comparison["fits"] for name in names]
    figures = comparison_figures({**comparison, "rows": many, "fits": fits}, "new items")
    lines = figures["shots"].axes[0].lines
    styles = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}
    assert len(styles) == len(lines) == 16
