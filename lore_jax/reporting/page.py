"""Results as one page of HTML that needs nothing else: no network, no script, no file beside it.

Everything on it comes from the JSON of an evaluation. Names, notes and texts are what people wrote,
so whatever is put into the page is escaped, and the page forbids itself (by its own security
policy) to load or to run anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from lore_jax.evaluation.conclusion import conclude
from lore_jax.evaluation.diagnostics import collapse_lines
from lore_jax.evaluation.evaluate import MISMATCHED_USER, PERMUTED_USERS, Row
from lore_jax.evaluation.results import Results, select
from lore_jax.reporting.figures import Panel, inline, reliability_figure, shots_figure, users_figure
from lore_jax.reporting.style import POLICY, STYLE
from lore_jax.reporting.tables import (
    Cells,
    Fields,
    four_way_columns,
    is_personal,
    items_label,
    measures_cells,
    method_lines,
    shots_columns,
    table_cells,
)

_PANELS: dict[Panel, str] = {"accuracy": "Accuracy", "gained": "What shots add, user by user"}
_SHOTS = 20  # where there is a choice, what happens after so many
_BARS, _REACH = (
    40,
    3.5,
)  # of the histogram of users along an axis, in standard deviations; its ends hold what is beyond


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
        >>> Path("page.html").write_text(page(read_results("run/results.json")))
    """
    if not results["rows"]:
        raise ValueError("the results have no rows: there is nothing to report")
    names = ", ".join(
        dict.fromkeys(entry["data"] or results["name"] for entry in results["splits"])
    )
    counts = sorted({row["shots"] for row in results["rows"] if row["shots"]})
    shots = min(counts, key=lambda count: abs(count - _SHOTS), default=_SHOTS)
    main = _main_method(results)
    parts = [
        *_head(results, main, names, note, shots),
        *_accuracy(results, main, shots),
        *_curves(results),
        *_calibration(results, shots),
        *(
            part
            for data, of in results.get("axes", {}).items()
            for part in _understanding(data, of)
        ),
        *_facts(results),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(names)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _main_method(results: Results) -> str:
    """What the page is about: the method of the run, else the population model, else the first that
    is personal.
    """
    methods = list(dict.fromkeys(row["method"] for row in results["rows"]))
    family = results.get("run", {}).get("config", {}).get("fit", {}).get("family", "gaussian")
    personal = [method for method in methods if is_personal(results, method)]
    return next((method for method in (family, *personal) if method in methods), methods[0])


def _cells(results: Results, main: str, shots: int) -> list[tuple[str, str, int | None]]:
    """Users, items and shots of what can be tested, the hardest question first."""
    out = []
    for users, after in (("unseen", shots), ("seen", None)):
        for items in ("new items", "known items"):
            about: Fields = {"method": main, "users": users, "items": items}
            if select(results, **about, shots=after, control=MISMATCHED_USER) and select(
                results, **about, shots=0
            ):
                out.append((users, items, after))
    return out


def _head(results: Results, main: str, names: str, note: str, shots: int) -> list[str]:
    conditions = _cells(results, main, shots)
    said = [(conclude(results, main, users=u, items=v, shots=n), u, v) for u, v, n in conditions]
    if any(users == "unseen" for _, users, _ in said):  # new users are what personalising is for
        said = [entry for entry in said if entry[1] == "unseen"]
    out = [f"<header><p class='names'>{escape(names)}</p>"]
    for i, (of, users, items) in enumerate(said):
        kind = f"sentence {'yes' if of['helps'] else 'no'}" if i == 0 else "also"
        who = f"{users.capitalize()} users, {items_label(items, results)}"
        out.append(f"<p class='who'>{who}</p><p class='{kind}'>{escape(of['sentence'])}.</p>")
    if note:
        out.append(f"<p class='note'>{escape(note)}</p>")
    out.append("</header>")
    if said:
        of, users, items = said[0]
        about: Fields = {"method": main, "users": users, "items": items, "control": None}
        now, before = (
            _percents(select(results, **about, shots=count)) for count in (of["shots"], 0)
        )
        when = "all their pairs" if of["shots"] is None else f"{of['shots']} shots"
        out += [
            "<section class='cards'>",
            _card(
                f"accuracy, {users} users",
                now["accuracy"],
                f"after {when}; {before['accuracy']} without",
            ),
            _card(
                "bottom decile of the users",
                now["bottom_decile"],
                f"{before['bottom_decile']} without",
            ),
            *(
                _card(
                    f"users significantly {name} off",
                    f"{of[name]:,}",
                    f"of {of['users']:,}; by chance at most {0.025 * of['users']:.0f}",
                )
                for name in ("better", "worse")
            ),
            "</section>",
        ]
    return out


def _percents(rows: Sequence[Row]) -> dict[str, str]:
    mean = {
        name: float(np.mean([row[name] for row in rows])) for name in ("accuracy", "bottom_decile")
    }
    return {name: f"{100 * value:.1f}\u00a0%" for name, value in mean.items()}


def _card(label: str, value: str, more: str) -> str:
    return f"<div class='card'><p>{escape(label)}</p><p class='value'>{escape(value)}</p><p>{escape(more)}</p></div>"


def _accuracy(results: Results, main: str, shots: int) -> list[str]:
    lines = method_lines(results)
    told = {
        MISMATCHED_USER: "each user scored with another user's weights",
        PERMUTED_USERS: "everything with users shuffled",
    }
    present = [text for control, text in told.items() if select(results, control=control)]
    controls = f" Controls: {'; '.join(present)}." if present else ""
    # The hardest question first: on a telephone the last columns are out of sight.
    columns = dict(reversed(four_way_columns(results, shots=shots).items()))
    out = [
        "<section><h2>Accuracy of every method</h2>",
        f"<p>Percent of the test pairs, averaged over users, with 95 % intervals over users and splits.{controls}</p>",
        _table(table_cells(results, lines, columns), main),
    ]
    for items in ("new items", "known items"):
        condition: Fields = {"users": "unseen", "items": items, "shots": shots}
        if select(results, **condition):
            title = (
                f"Everything measured: unseen users, {items_label(items, results)}, {shots} shots"
            )
            out += [f"<details><summary>{title}</summary>"]
            out += [
                "<p>Better and worse off: users for whom the method is right significantly more, or less, often than "
                "without their shots (sign test at 2.5 %). Calibration: expected error of all pairs together, and beside it "
                "what a perfectly calibrated method with the same confidences would score.</p>",
                _table(measures_cells(results, lines, condition), main),
                "</details>",
            ]
    return [*out, "</section>"]


def _curves(results: Results) -> list[str]:
    out = []
    for items in ("new items", "known items"):
        columns = shots_columns(results, items=items)
        if len(columns) < 2:
            continue
        out.append(
            f"<section><h2>New users after some shots: {items_label(items, results)}</h2><div class='figures'>"
        )
        for panel, what in _PANELS.items():
            uri = inline(shots_figure(results, items=items, panels=[panel]))
            out.append(_figure(uri, f"{what}; band: 95 % interval."))
        out += ["</div><details><summary>The same as a table</summary>"]
        out += [
            _table(table_cells(results, method_lines(results), columns), ""),
            "</details></section>",
        ]
    return out


def _calibration(results: Results, shots: int) -> list[str]:
    drawn = [
        items
        for items in ("new items", "known items")
        if select(results, users="unseen", items=items)
    ]
    if not drawn:
        return []
    figures = [
        _figure(
            inline(reliability_figure(results, items=items, shots=shots)),
            f"Unseen users, {items_label(items, results)}.",
        )
        for items in drawn
    ]
    return [
        "<section><h2>Are the probabilities true?</h2>",
        "<p>Pairs of equal confidence together: on the diagonal, 80 % sure is right 80 % of the time. Bars are 95 % "
        "intervals; below, how the pairs are spread over confidence.</p>",
        "<div class='figures'>",
        *figures,
        "</div></section>",
    ]


def _understanding(data: str, described: Mapping[str, Any]) -> list[str]:
    title = "What people disagree about" + (f": {data}" if data else "")
    out = [f"<section><h2>{escape(title)}</h2>"]
    if not described["axes"]:
        out.append("<p>Users do not differ: there is no axis of disagreement.</p>")
    else:
        out.append(
            f"<p>What each user adds to the rewards that all share ({described['disagreement']:.2f} logits, beside "
            f"{described['shared']:.2f} that are shared), split into axes that are uncorrelated over users and turned so "
            "that each is about few responses (varimax). The number beside a response: what a user one standard "
            "deviation along the axis adds to its reward, in logits. Bars: how many users lie where; the line among them: "
            "the population, where a user of whom nothing is known stands.</p>"
        )
        prompts = {
            end.get("prompt")
            for axis in described["axes"]
            for side in ("high", "low")
            for end in axis[side]
        }
        for k, axis in enumerate(described["axes"]):
            out += _axis(
                k,
                axis,
                described["groups"],
                described["population"][k],
                name_prompts=len(prompts) > 1,
            )
    out.append("<div class='figures'>")
    if described["axes"]:
        caption = "Each point a user, the average user in the middle. The cross: the population, where users start from."
        figure = _figure(inline(users_figure(described)), caption)
        out += ["<div><h3>Where users lie</h3>", figure, "</div>"]
    if "collapse" in described:
        out += ["<div><h3>How much of the fit is in use</h3><ul class='plain'>"]
        for line in collapse_lines(described["collapse"]):
            kind = " class='warning'" if line.startswith("warning") else ""
            out.append(f"<li{kind}>{escape(line)}</li>")
        out.append("</ul></div>")
    out.append("</div>")
    return [*out, "</section>"]


def _axis(
    k: int,
    axis: Mapping[str, Any],
    groups: Mapping[str, Any],
    population: float,
    *,
    name_prompts: bool,
) -> list[str]:
    share = 100.0 * axis["share"]
    out = [
        f"<article class='axis'><h3>Axis {k + 1} <span class='share'>{share:.0f} % of the disagreement</span></h3>",
        f"<div class='bar'><div style='width:{min(share, 100.0):.1f}%'></div></div>",
        _histogram(
            np.array([user[k] for users in groups.values() for user in users], np.float64),
            population,
        ),
        "<div class='ends'>",
    ]
    for side, label in (
        ("low", "\u2190 Users on this side favour"),
        ("high", "Users on this side favour \u2192"),
    ):
        items = [_end(end, name_prompts) for end in axis[side]] or ["<li>nothing</li>"]
        out.append(f"<div class='{side}'><h4>{label}</h4><ul>{''.join(items)}</ul></div>")
    return [*out, "</div></article>"]


def _end(end: Mapping[str, Any], name_prompt: bool) -> str:
    text = escape(end["text"]) if "text" in end else f"response in row {end['response']}"
    prompt = (
        f"<span class='prompt'>{escape(end['prompt'])}</span>"
        if name_prompt and end.get("prompt")
        else ""
    )
    return f"<li>{prompt}<span class='text'>{text}</span><span class='loading'>{abs(end['loading']):.2f}</span></li>"


def _histogram(scores: np.ndarray, population: float) -> str:
    """How many users stand where along an axis; the population is the line."""
    count, _ = np.histogram(np.clip(scores, -_REACH, _REACH), bins=_BARS, range=(-_REACH, _REACH))
    heights = 40.0 * count / max(1, count.max())
    bars = "".join(
        f'<rect x="{10 * i}" y="{40 - height:.1f}" width="9" height="{height:.1f}"/>'
        for i, height in enumerate(heights)
        if height
    )
    line = 5 * _BARS * (1.0 + float(np.clip(population / _REACH, -0.99, 0.99)))
    return (
        f'<svg class="histogram" viewBox="0 0 {10 * _BARS} 40" preserveAspectRatio="none" role="img" '
        f'aria-label="where users lie along the axis"><g>{bars}</g>'
        f'<line x1="{line:.1f}" x2="{line:.1f}" y1="0" y2="40"/></svg>'
    )


def _facts(results: Results) -> list[str]:
    run, machine = results.get("run", {}), results["machine"]
    packages = ", ".join(
        f"{name} {version}" for name, version in machine["packages"].items() if version
    )
    facts = [("run", results["name"]), ("seed", results["seed"])]
    if run:
        data = run["data"]
        facts += [
            ("cache", data["cache"]),
            ("encoder", data["encoder"].get("model", "unnamed")),
            ("table", f"{data['responses']:,} responses, dim {data['dim']}, {data['dtype']}"),
            ("pairs", f"{data['pairs']:,} by {data['users']:,} users"),
            (
                "chosen on validation, or given",
                ", ".join(f"{name} {value:g}" for name, value in run["choice"].items()),
            ),
        ]
    facts += [
        ("machine", f"{machine['devices']} x {machine['device']}"),
        ("versions", f"Python {machine['python']}, {packages}"),
    ]
    out = ["<section><h2>How it was made</h2>", _pairs(facts)]
    rows = [["data", "split", "tested on", "seen users", "unseen users", "left out", "digest"]]
    for entry in results["splits"]:
        dropped = ", ".join(
            f"{name.replace('_', ' ')} {count:,}"
            for name, count in (entry.get("dropped") or {}).items()
        )
        who = [f"{len(entry['users'].get(users, [])):,}" for users in ("seen", "unseen")]
        tested = " and ".join(entry["items"])
        rows.append(
            [entry["data"] or "", str(entry["split"]), tested, *who, dropped, entry["digest"][:12]]
        )
    out += [
        f"<details><summary>Splits ({len(results['splits'])})</summary>",
        _table(rows, ""),
        "</details>",
    ]
    out += [
        "<details><summary>Configuration</summary>",
        _pairs(_flat(results["config"])),
        "</details>",
    ]
    return [*out, "</section>"]


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _flat(entry, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _pairs(facts: Iterable[tuple[str, Any]]) -> str:
    items = (f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts)
    return f"<dl>{''.join(items)}</dl>"


def _figure(uri: str, caption: str) -> str:
    return f"<figure><img src='{uri}' alt='{escape(caption)}'><figcaption>{escape(caption)}</figcaption></figure>"


def _table(conditions: Cells, main: str) -> str:
    head, *body = conditions
    out = [
        "<div class='scroll'><table><thead><tr>",
        *(f"<th>{escape(label)}</th>" for label in head),
        "</tr></thead><tbody>",
    ]
    for label, *values in body:
        kind = " class='main'" if label == main else ""
        out.append(f"<tr{kind}><th>{escape(label)}</th>{''.join(map(_value, values))}</tr>")
    return "".join([*out, "</tbody></table></div>"])


def _value(text: str) -> str:
    mean, bracket, rest = text.partition(" (")
    interval = f" <span class='interval'>({escape(rest)}</span>" if bracket else ""
    return f"<td>{escape(mean)}{interval}</td>"
