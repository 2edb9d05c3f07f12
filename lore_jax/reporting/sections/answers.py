"""Answers of every kind: how well each is predicted, and what is gained over strict pairs."""

from __future__ import annotations

from lore_jax.evaluation.answer_gains import over_strict_pairs
from lore_jax.evaluation.schema import Results
from lore_jax.reporting.answer_tables import answer_cells, condition_label
from lore_jax.reporting.html import details, html_table
from lore_jax.reporting.html import paragraph as p

_EXPLAINED = (
    "Answers were fitted as they were said. Saved: how much better an answer is predicted with the "
    "person's own answers than without any, as log loss in nats, averaged over users, with the "
    "95 % interval for new users and new items. Of ratings, a part of it is that some people rate "
    "higher than others; the accuracy on pairs, elsewhere on this page, has no such part."
)
_MEASURES = (
    "Uninformed: every level as probable as it is frequent. Accuracy: how often the most probable "
    "outcome was said. Calibration: the mean distance of probabilities from frequencies over all "
    "outcomes; in brackets what chance leaves of it."
)


def answers(results: Results, main: str) -> list[str]:
    """A table of kinds for each condition, and what answers gain over the strict pairs they make.

    Args:
        results: from `make_results` or `read_results`.
        main: the method that the page is about.

    Returns:
        A section; nothing for results of pairs alone.
    """
    tables = answer_cells(results)
    if not tables:
        return []
    gained = [
        p(f"{condition_label(found.where, results)}: {found.statement}.")
        for found in over_strict_pairs(results, main)
    ]
    short = [
        part
        for title, cells in tables.items()
        for part in (p(title), html_table([row[:4] for row in cells]))
    ]
    full = [part for title, cells in tables.items() for part in (p(title), html_table(cells))]
    return [
        "<section><h2>What people said, answer by answer</h2>",
        p(_EXPLAINED),
        *short,
        *gained,
        *details("All measures of answers", p(_MEASURES), *full),
        "</section>",
    ]
