"""One prompt, two people: an example of what personalising changes, where the fit is sure of it."""

from __future__ import annotations

from html import escape

from lore_jax.evaluation.schema import AxesEntry, PickEntry
from lore_jax.reporting.html import paragraph as p

_LONGEST = 320  # letters of a text that are shown


def example(described: AxesEntry) -> list[str]:
    """Two users who would get different replies to one prompt.

    Args:
        described: what results hold of the axes of disagreement.

    Returns:
        A section; nothing where no two users surely differ, or the results do not say.
    """
    found = described.get("picks")
    if not found:
        return []
    first, second = found["picks"]
    replies = f"Of {found['replies']:,} replies to one prompt, {first['user']} and {second['user']}"
    explanation = (
        f"{replies} would get different ones. Among the prompts looked at, this is where the model "
        "is surest of it."
    )
    out = ["<section><h2>The same question, two people</h2>", p(explanation)]
    out.append("<article class='axis'>")
    if "prompt" in first:
        out.append(p(_cut(first["prompt"]), "prompt"))
    out.append("<div class='ends'>")
    out += [_pick(first), _pick(second), "</div></article></section>"]
    return out


def _pick(pick: PickEntry) -> str:
    text = _cut(pick.get("text", f"response in row {pick['response']}"))
    sure = min(99.9, 100.0 * pick["sure"])
    digits = 0 if sure < 99.0 else 1
    return (
        f"<div><h4>{escape(pick['user'])} would get</h4>{p(text, 'text')}"
        f"{p(f'{sure:.{digits}f} % sure to prefer it to the other one', 'note')}</div>"
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\u2026"
