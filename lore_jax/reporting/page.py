"""Results as one page of HTML that needs nothing else: no network, no script, no file beside it.

Everything on it comes from the JSON of an evaluation. Whatever people wrote is escaped (`html`),
and the page forbids itself, by its own security policy, to load or to run anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

import numpy as np

from lore_jax.data.splits import Holdout
from lore_jax.evaluation import names
from lore_jax.evaluation.conclusion import conclusions_of, conclusive
from lore_jax.evaluation.diagnostics import diagnostic_lines
from lore_jax.evaluation.results import Where, methods_of, select
from lore_jax.evaluation.schema import (
    AxesEntry,
    AxisEntry,
    Conclusion,
    EndEntry,
    Results,
    Row,
    SplitEntry,
)
from lore_jax.reporting import tables
from lore_jax.reporting.comparison_section import comparison_section
from lore_jax.reporting.comparison_tables import is_comparison
from lore_jax.reporting.figures import Panel, inline, reliability_figure, shots_figure, users_figure
from lore_jax.reporting.html import card, details, facts, figure, flat, histogram, html_table
from lore_jax.reporting.html import paragraph as p
from lore_jax.reporting.page_style import POLICY, STYLE

_PANELS: dict[Panel, str] = {"accuracy": "Accuracy", "gained": "What shots add, user by user"}
_ITEMS: tuple[Holdout, Holdout] = ("new items", "known items")  # the harder question first
_CONTROLS: dict[names.Control, str] = {
    names.MISMATCHED_USER: "each user scored with another user's weights",
    names.DONOR: "each user scored with the weights of the user who was asked about the most "
    "similar responses",
    names.PERMUTED_USERS: "everything, fit included, with user labels permuted",
}
_SIDES: dict[Literal["low", "high"], str] = {
    "low": "\u2190 Users on this side favour",
    "high": "Users on this side favour \u2192",
}


def page(results: Results, *, note: str = "") -> str:
    """The page.

    Args:
        results: from `make_results`, `read_results` or `join`.
        note: what must be said beside every number, for instance where the pairs come from.

    Returns:
        HTML.

    Raises:
        ValueError: the results have no rows.

    Example:
        >>> html = page(read_results("run/results.json"))  # doctest: +SKIP
    """
    if not results["rows"]:
        raise ValueError("the results have no rows: there is nothing to report")
    data = dict.fromkeys(entry["data"] or results["name"] for entry in results["splits"])
    title = ", ".join(data)
    shots = names.nearest_shots({row["shots"] for row in results["rows"] if row["shots"]})
    main = _main_method(results)
    # Curves of many methods are in the comparison's own figures: the others are about one method.
    methods = [main] if is_comparison(results) else None
    parts = [*_head(results, main, title, note), *comparison_section(results)]
    parts += _accuracy(results, main, shots)
    parts += [*_curves(results, methods), *_calibration(results, shots, methods)]
    for name, described in results.get("axes", {}).items():
        parts += _disagreement(name, described)
    parts += _provenance(results)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _main_method(results: Results) -> str:
    """The method that the page is about: the one named in the results, else the first personal."""
    methods = methods_of(results)
    personal = [method for method in methods if tables.is_personal(results, method)]
    choices = (results.get("method", names.GAUSSIAN), *personal, methods[0])
    return next(method for method in choices if method in methods)


def _head(results: Results, main: str, title: str, note: str) -> list[str]:
    """Names, conclusions, the note, and the numbers of the first conclusion as cards."""
    questions, conclusions = conclusive(results, main), conclusions_of(results, main)
    out = [f"<header>{p(title, 'names')}"]
    for i, (label, conclusion) in enumerate(conclusions.items()):
        style = "also" if i else f"conclusion {'yes' if conclusion['helps'] else 'no'}"
        out += [p(label, "who"), p(f"{conclusion['statement']}.", style)]
    if note:
        out.append(p(note, "note"))
    cards = []
    if questions:
        cards = _cards(results, questions[0], next(iter(conclusions.values())))
    return [*out, "</header>", *cards]


def _cards(results: Results, where: Where, conclusion: Conclusion) -> list[str]:
    own = where.also(Where(control=None))
    after, before = select(results, own), select(results, own.also(Where(shots=0)))
    shots, users = conclusion["shots"], conclusion["users"]
    when = "all their pairs" if shots is None else f"up to {shots} shots"
    accuracy = f"after {when}; {_percent(before, 'accuracy')} without"
    decile = f"{_percent(before, 'bottom_decile')} without"
    return [
        "<section class='cards'>",
        card(f"accuracy, {where.users} users", _percent(after, "accuracy"), accuracy),
        card("bottom decile of the users", _percent(after, "bottom_decile"), decile),
        card("users who gained", f"{conclusion['better']:,}", f"of {users:,}: more right answers"),
        card("users who lost", f"{conclusion['worse']:,}", f"of {users:,}: fewer right answers"),
        "</section>",
    ]


def _percent(rows: Sequence[Row], name: Literal["accuracy", "bottom_decile"]) -> str:
    return f"{100 * float(np.mean([row[name] for row in rows])):.1f}\u00a0%"


def _accuracy(results: Results, main: str, shots: int) -> list[str]:
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


def _curves(results: Results, methods: Sequence[str] | None) -> list[str]:
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


def _calibration(results: Results, shots: int, methods: Sequence[str] | None) -> list[str]:
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


def _disagreement(data: str, described: AxesEntry) -> list[str]:
    """The axes of disagreement with their ends, the map of users, and the diagnostics."""
    title = "What people disagree about" + (f": {data}" if data else "")
    out = [f"<section><h2>{escape(title)}</h2>"]
    axes = described["axes"]
    if not axes:
        out.append(p("Users do not differ: there is no axis of disagreement."))
    else:
        sizes = f"{described['disagreement']:.2f} logits, beside {described['shared']:.2f}"
        explanation = (
            f"What each user adds to the rewards that all share ({sizes} that are shared), split "
            "into axes that are uncorrelated over users and rotated so that each is about few "
            "responses (varimax). The number beside a response: what a user one standard deviation "
            "along the axis adds to its reward, in logits. Bars: how many users lie where; the "
            "line among them: the population, where a user without shots starts."
        )
        out.append(p(explanation))
        prompts = {end.get("prompt") for axis in axes for side in _SIDES for end in axis[side]}
        users = [user for group in described["groups"].values() for user in group]
        for k, axis in enumerate(axes):
            bars = histogram(np.array([user[k] for user in users]), described["population"][k])
            out += _axis(k, axis, bars, name_prompts=len(prompts) > 1)
    out.append("<div class='figures'>")
    if axes:
        middle = "Each point a user, the average user in the middle"
        caption = f"{middle}. The cross: the population, where users start from."
        image = figure(inline(users_figure(described)), caption)
        out += ["<div><h3>Where users lie</h3>", image, "</div>"]
    if "diagnostics" in described:
        out.append("<div><h3>How much of the fit is in use</h3><ul class='plain'>")
        for line in diagnostic_lines(described["diagnostics"]):
            style = " class='warning'" if line.startswith("warning") else ""
            out.append(f"<li{style}>{escape(line)}</li>")
        out.append("</ul></div>")
    return [*out, "</div></section>"]


def _axis(k: int, axis: AxisEntry, bars: str, *, name_prompts: bool) -> list[str]:
    share = 100.0 * axis["share"]
    out = [
        f"<article class='axis'><h3>Axis {k + 1} "
        f"<span class='share'>{share:.0f} % of the disagreement</span></h3>",
        f"<div class='bar'><div style='width:{min(share, 100.0):.1f}%'></div></div>",
        bars,
        "<div class='ends'>",
    ]
    for side, label in _SIDES.items():
        ends = [_end(end, name_prompts) for end in axis[side]] or ["<li>nothing</li>"]
        out.append(f"<div class='{side}'><h4>{label}</h4><ul>{''.join(ends)}</ul></div>")
    return [*out, "</div></article>"]


def _end(end: EndEntry, name_prompt: bool) -> str:
    text = escape(end.get("text", f"response in row {end['response']}"))
    prompt = end.get("prompt") if name_prompt else None
    shown_prompt = f"<span class='prompt'>{escape(prompt)}</span>" if prompt else ""
    loading = f"<span class='loading'>{abs(end['loading']):.2f}</span>"
    return f"<li>{shown_prompt}<span class='text'>{text}</span>{loading}</li>"


def _provenance(results: Results) -> list[str]:
    """How the results were made: data, choices, machine, splits, configuration."""
    machine = results["machine"]
    installed = [f"{name} {version}" for name, version in machine["packages"].items() if version]
    head = ["data", "split", "tested on", "seen users", "unseen users", "left out", "digest"]
    splits = html_table([head, *map(_split_cells, results["splits"])])
    made = [
        ("run", results["name"]),
        ("seed", results["seed"]),
        *_run_facts(results),
        ("machine", f"{machine['devices']} x {machine['device']}"),
        ("versions", ", ".join([f"Python {machine['python']}", *installed])),
    ]
    return [
        "<section><h2>How it was made</h2>",
        facts(made),
        *details(f"Splits ({len(results['splits'])})", splits),
        *details("Configuration", facts(flat(results["config"]))),
        "</section>",
    ]


def _run_facts(results: Results) -> list[tuple[str, object]]:
    if "run" not in results:
        return []
    data = results["run"]["data"]
    choice = ", ".join(f"{name} {value:g}" for name, value in results["run"]["choice"].items())
    return [
        ("cache", data["cache"]),
        ("encoder", data["encoder"].get("model", "unnamed")),
        ("table", f"{data['responses']:,} responses, dim {data['dim']}, {data['dtype']}"),
        ("pairs", f"{data['pairs']:,} by {data['users']:,} users"),
        ("chosen on validation, or given", choice),
    ]


def _split_cells(entry: SplitEntry) -> list[str]:
    dropped = entry["dropped"].items()
    return [
        entry["data"],
        str(entry["split"]),
        " and ".join(entry["items"]),
        f"{len(entry['users'].get('seen', [])):,}",
        f"{len(entry['users'].get('unseen', [])):,}",
        ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in dropped),
        entry["digest"][:12],
    ]
