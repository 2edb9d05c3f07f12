"""The head of the page: what was found in plain words, what it means, the conclusion, the note."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

import numpy as np

from lore_jax.evaluation.conclusion import conclusions_of, conclusive
from lore_jax.evaluation.results import Where, select
from lore_jax.evaluation.schema import Conclusion, Results, Row
from lore_jax.reporting.html import card, details
from lore_jax.reporting.html import paragraph as p
from lore_jax.reporting.plain_words import meaning, prediction, short_answer

_LABELS = {"unseen": "A new person", "seen": "A known person"}


def head(results: Results, main: str, told: Sequence[Where], *, title: str, note: str) -> list[str]:
    """Plain words first, then the conclusions with their terms, then numbers as cards.

    Args:
        results: from `make_results` or `read_results`.
        main: the method that the page is about.
        told: conditions, from `conditions_told`.
        title: of the page.
        note: what must be said beside every number.

    Returns:
        Pieces of HTML.
    """
    questions, conclusions = conclusive(results, main), conclusions_of(results, main)
    first = next(iter(conclusions.values()), None)
    out = [f"<header><h1>{escape(title)}</h1>"]
    if first is not None:
        style = "yes" if first["helps"] else "no"
        out.append(p(f"{short_answer(first)}.", f"conclusion {style}"))
    if told:
        sentences = "".join(
            f"<div>{p(_LABELS[str(where.users)], 'who')}{p(prediction(results, where), 'also')}"
            "</div>"
            for where in told
        )
        out.append(f"<div class='sides'>{sentences}</div>")
    if first is not None:
        out.append(p(meaning(first)))
    stated = [
        p(label, "who") + p(f"{conclusion['statement']}.", "statement")
        for label, conclusion in conclusions.items()
    ]
    out += stated[:1]
    if len(stated) > 1:
        out += details(f"The other conclusions ({len(stated) - 1})", *stated[1:])
    if note:
        out.append(p(note, "note"))
    cards = [] if first is None else _cards(results, questions[0], first)
    return [*out, "</header>", *cards]


def _cards(results: Results, where: Where, conclusion: Conclusion) -> list[str]:
    own = where.also(Where(control=None))
    after, before = select(results, own), select(results, own.also(Where(shots=0)))
    shots, users = conclusion["shots"], conclusion["users"]
    when = "all they said" if shots is None else f"up to {shots} comparisons"
    known = "new" if where.users == "unseen" else "known"
    right = f"with {when}; {_percent(before, 'accuracy')} without"
    worst = f"of their choices; {_percent(before, 'bottom_decile')} without"
    return [
        "<section class='cards'>",
        card(f"right for {known} people", _percent(after, "accuracy"), right),
        card("for the tenth predicted worst", _percent(after, "bottom_decile"), worst),
        card("people who gained", f"{conclusion['better']:,}", f"of {users:,}: more right answers"),
        card("people who lost", f"{conclusion['worse']:,}", f"of {users:,}: fewer right answers"),
        "</section>",
    ]


def _percent(rows: Sequence[Row], name: Literal["accuracy", "bottom_decile"]) -> str:
    return f"{100 * float(np.mean([row[name] for row in rows])):.1f}\u00a0%"
