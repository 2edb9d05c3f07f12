"""Every method and control: accuracy, what shots add, whether probabilities are calibrated."""

from __future__ import annotations

from collections.abc import Sequence

from lore_jax.data.splits import Holdout
from lore_jax.evaluation import names
from lore_jax.evaluation.results import Where, select
from lore_jax.evaluation.schema import Results
from lore_jax.reporting import tables
from lore_jax.reporting.figures import Panel, inline, reliability_figure, shots_figure
from lore_jax.reporting.html import details, figure, html_table
from lore_jax.reporting.html import paragraph as p

_PANELS: dict[Panel, str] = {"accuracy": "Accuracy", "gained": "What shots add, user by user"}
_ITEMS: tuple[Holdout, Holdout] = ("new items", "known items")  # the harder question first
_CONTROLS: dict[names.Control, str] = {
    names.MISMATCHED_USER: "each user scored with another user's weights",
    names.DONOR: "each user scored with the weights of the user who was asked about the most "
    "similar responses",
    names.PERMUTED_USERS: "everything, fit included, with user labels permuted",
}


def accuracy(results: Results, main: str, shots: int) -> list[str]:
    """Accuracy of every method and control; folded away, all that is measured after some shots."""
    lines = tables.method_lines(results)
    shown = [text for name, text in _CONTROLS.items() if select(results, Where(control=name))]
    controls = f" Controls: {'; '.join(shown)}." if shown else ""
    # The hardest question first: on a telephone the last columns are out of sight.
    columns = dict(reversed(tables.four_way_columns(results, shots=shots).items()))
    averages = "averaged over users, with 95 % intervals for new users and new items"
    out = [
        "<section><h2>Accuracy of every method</h2>",
        p(f"Percent of the test pairs, {averages}.{controls}"),
        html_table(tables.table_cells(results, lines, columns), main),
    ]
    explanation = p(
        "Gained and lost: users for whom the method is right more, or less, often than without "
        "their shots; some of both is chance. ECE: expected calibration error of a data set's "
        "pairs together, averaged over data sets; in brackets its bias, what a calibrated model "
        "with the same confidences would score on as many pairs."
    )
    for items in _ITEMS:
        condition = Where("unseen", items, shots=shots)
        if select(results, condition):
            title = (
                f"All measures: unseen users, {tables.items_label(items, results)}, {shots} shots"
            )
            cells = tables.measures_cells(results, lines, condition)
            out += details(title, explanation, html_table(cells, main))
    return [*out, "</section>"]


def curves(results: Results, methods: Sequence[str] | None = None) -> list[str]:
    """Accuracy of unseen users against shots, as figures and as a table."""
    out = []
    for items in _ITEMS:
        columns = tables.shots_columns(results, items=items)
        if len(columns) < 2:
            continue
        title = f"New users after some shots: {tables.items_label(items, results)}"
        out.append(f"<section><h2>{title}</h2><div class='figures'>")
        for panel, label in _PANELS.items():
            uri = inline(shots_figure(results, items=items, methods=methods, panels=[panel]))
            out.append(figure(uri, f"{label}; band: 95 % interval."))
        cells = tables.table_cells(results, tables.method_lines(results), columns)
        out += ["</div>", *details("The same as a table", html_table(cells)), "</section>"]
    return out


def calibration(results: Results, shots: int, methods: Sequence[str] | None = None) -> list[str]:
    """Confidence against accuracy of unseen users, as figures."""
    figures = []
    for items in _ITEMS:
        if select(results, Where("unseen", items)):
            drawn = reliability_figure(results, items=items, shots=shots, methods=methods)
            uri = inline(drawn)
            figures.append(figure(uri, f"Unseen users, {tables.items_label(items, results)}."))
    if not figures:
        return []
    explanation = p(
        "Pairs of equal confidence together: on the diagonal, 80 % sure is right 80 % of the "
        "time. Bars: the noise of the pairs alone (95 %, Wilson), users and items aside; below, "
        "how the pairs are spread over confidence."
    )
    head = "<section><h2>Are the probabilities calibrated?</h2>"
    return [head, explanation, "<div class='figures'>", *figures, "</div></section>"]
