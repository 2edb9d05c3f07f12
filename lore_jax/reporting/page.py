"""Results as one page of HTML that needs nothing else: no network, no script, no file beside it.

Everything on it comes from the JSON of an evaluation. Whatever people wrote is escaped (`html`),
and the page forbids itself, by its own security policy, to load or to run anything. It begins with
plain words, for readers who decide; tables, calibration and provenance come last.
"""

from __future__ import annotations

from html import escape

from lore_jax.evaluation import names
from lore_jax.evaluation.results import methods_of
from lore_jax.evaluation.schema import Results
from lore_jax.reporting import tables
from lore_jax.reporting.comparison_section import comparison_section
from lore_jax.reporting.comparison_tables import is_comparison
from lore_jax.reporting.html import paragraph
from lore_jax.reporting.page_style import POLICY, STYLE
from lore_jax.reporting.plain_words import conditions_told
from lore_jax.reporting.sections.answers import answers
from lore_jax.reporting.sections.disagreement import disagreement
from lore_jax.reporting.sections.example import example
from lore_jax.reporting.sections.head import head
from lore_jax.reporting.sections.methods import accuracy, calibration, curves
from lore_jax.reporting.sections.more_data import more_data
from lore_jax.reporting.sections.people import how_much_they_said, who_gains
from lore_jax.reporting.sections.provenance import provenance


def page(results: Results, *, note: str = "", title: str | None = None) -> str:
    """The page.

    Args:
        results: from `make_results`, `read_results` or `join`.
        note: what must be said beside every number, for instance where the pairs come from.
        title: of the page; None: the names of the data sets.

    Returns:
        HTML.

    Raises:
        ValueError: the results have no rows, or the title is empty.

    Example:
        >>> html = page(read_results("run/results.json"))  # doctest: +SKIP
    """
    if title is not None:
        refuse_empty_title(title)
    if not results["rows"]:
        raise ValueError("the results have no rows: there is nothing to report")
    if title is None:
        data = dict.fromkeys(entry["data"] or results["name"] for entry in results["splits"])
        title = ", ".join(data)
    shots = names.nearest_shots({row["shots"] for row in results["rows"] if row["shots"]})
    main = _main_method(results)
    told = conditions_told(results, main)
    parts = [*head(results, main, told, title=title, note=note), *who_gains(results, told)]
    parts += [*how_much_they_said(results), *answers(results, main)]
    # Curves of many methods are in the comparison's own figures: the others are about one method.
    methods = [main] if is_comparison(results) else None
    parts += comparison_section(results)
    for name, described in results.get("axes", {}).items():
        parts += [*example(described), *disagreement(name, described)]
    parts += more_data(results, main)
    parts.append(
        paragraph("From here on, for specialists: every method and how it was made.", "part")
    )
    parts += [*curves(results, methods), *accuracy(results, main, shots)]
    parts += calibration(results, shots, methods)
    parts += provenance(results)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def refuse_empty_title(title: str) -> None:
    """Refuses a title without words; asked before anything is computed for the page."""
    if not title.strip():
        raise ValueError("title is empty: some words are expected")


def _main_method(results: Results) -> str:
    """The method that the page is about: the one named in the results, else the first personal."""
    methods = methods_of(results)
    personal = [method for method in methods if tables.is_personal(results, method)]
    choices = (results.get("method", names.GAUSSIAN), *personal, methods[0])
    return next(method for method in choices if method in methods)
