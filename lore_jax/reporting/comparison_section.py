"""What a page says of a comparison of methods: its table, figures and differences."""

from __future__ import annotations

from lore_jax.evaluation.names import GAUSSIAN
from lore_jax.evaluation.schema import Results
from lore_jax.reporting.comparison_figures import comparison_figures
from lore_jax.reporting.comparison_tables import (
    comparison_cells,
    difference_cells,
    is_comparison,
    items_of,
    reported_shots,
    shots_cells,
    users_cells,
)
from lore_jax.reporting.figures import inline
from lore_jax.reporting.html import details, figure, html_table
from lore_jax.reporting.html import paragraph as p
from lore_jax.reporting.tables import items_label

_CAPTIONS = {
    "differences": "Differences to the population model; bars: 95 % intervals for new users and "
    "new items.",
    "shots": "Accuracy after some shots.",
    "users": "Accuracy by the number of users in the fit.",
}


def comparison_section(results: Results) -> list[str]:
    """The sections, one a test; none where the results compare no methods.

    Args:
        results: from `make_results`, `read_results` or `join`.

    Returns:
        Pieces of HTML.

    Example:
        >>> comparison_section(read_results("run/results.json"))  # doctest: +SKIP
    """
    out = []
    for items in items_of(results) if is_comparison(results) else []:
        shots, asked = reported_shots(results), items_label(items, results)
        out += [
            f"<section><h2>Every method: unseen users, {asked}, {shots} shots</h2>",
            p(
                "The same training pairs, validation folds and draws of shots for all; the lowest "
                "log loss first. Seconds to choose and to fit are without compiling, and set "
                "beside the budget where they exceed it. Parameters are the numbers that all "
                "users share; milliseconds are to adapt one user, or 1,000 in one call, and to "
                "predict a pair of each."
            ),
            html_table(comparison_cells(results, items), GAUSSIAN),
            "<div class='wide'>",
        ]
        for name, drawn in comparison_figures(results, items).items():
            out.append(figure(inline(drawn), _CAPTIONS[name]))
        out.append("</div>")
        for title, cells, least in (
            ("Paired differences as a table", difference_cells, 2),
            ("Accuracy after some shots as a table", shots_cells, 3),
            ("Accuracy by the number of users in the fit as a table", users_cells, 3),
        ):
            head, *lines = cells(results, items)
            if lines and len(head) >= least:
                out += details(title, html_table([head, *lines], GAUSSIAN))
        out.append("</section>")
    return out
