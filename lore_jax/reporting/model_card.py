"""A model card: what a saved model is, how good, and how to load it: Markdown, YAML in front.

The layout is that of the Hugging Face hub, which shows a `README.md` beside a model. What people
wrote stands in code spans, where nothing is markup.

Reference:
    Mitchell et al. 2019, "Model cards for model reporting".
"""

from __future__ import annotations

import re

from lore_jax.evaluation.names import nearest_shots
from lore_jax.evaluation.schema import AxesEntry, AxisEntry, EndEntry, Results, RunEntry
from lore_jax.reporting.answer_tables import answer_tables
from lore_jax.reporting.plain_words import conditions_told, prediction, shorten
from lore_jax.reporting.tables import four_way_columns, method_lines, table

_TAGS = ("reward-model", "preference-learning", "personalization", "low-rank", "jax")
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_LONGEST = 140  # letters of a text at the end of an axis


def model_card(results: Results, *, license: str | None = None) -> str:
    """The card of the model that some results are about.

    Args:
        results: of a run, from `lore-jax evaluate`.
        license: its identifier on the hub, for instance "mit"; None: the card names none.

    Returns:
        Markdown.

    Raises:
        ValueError: the results are not those of a run, or the license is no identifier.

    Example:
        >>> card = model_card(read_results("run/results.json"))  # doctest: +SKIP
        >>> card.splitlines()[:2]  # doctest: +SKIP
        ['---', 'library_name: lore_jax']
    """
    if "run" not in results or "method" not in results:
        raise ValueError("the results are not those of a run: a model card is about one")
    check_license(license)
    front = ["---", "library_name: lore_jax"]
    front += [f'license: "{license}"'] if license else []
    front += ["tags:", *(f"- {tag}" for tag in _TAGS), "---", ""]
    parts = [_what_it_is(results, results["run"]), _LOAD]
    parts += [_LOAD_ANSWERS] if results.get("answers") else []
    parts += [_how_good(results)]
    parts += [_axes(described) for described in results["axes"].values()]
    parts.append(_data(results, results["run"]))
    return "\n".join(front) + "\n\n".join(part for part in parts if part) + "\n"


def check_license(license: str | None) -> None:
    """Refuses what can be no identifier of a license.

    Raises:
        ValueError: it cannot.
    """
    if license is not None and not _LICENSE.fullmatch(license):
        raise ValueError(f"license is {license!r}: an identifier like 'mit' is expected")


_LOAD = """## How to load it

```python
import lore_jax as lore

model, users = lore.load("this folder")
scores = lore.score(model, users, embeddings)  # [users, responses]
```

New users: `lore.adapt(model, comparisons)`. Nothing is pickled, and loading runs no code. The
folder holds the weights, and the names if there are any, of the users it was fitted on."""

_LOAD_ANSWERS = """It was fitted to answers as they were said, and knows how people answer:

```python
model, answers, users = lore.load_answers("this folder")
known = lore.adapt_answers(model, answers, lore.load_feedback("a cache"))
```"""


def _what_it_is(results: Results, run: RunEntry) -> str:
    data = run["data"]
    choice = ", ".join(f"{name} {value:g}" for name, value in run["choice"].items())
    encoder = _code(str(data["encoder"].get("model", "an unnamed encoder")))
    return (
        "# Personal rewards\n\nA low-rank reward model: a reward basis that all users share, and a "
        f"few weights on it for each. It takes embeddings of {data['dim']} numbers, made by "
        f"{encoder}; those of another encoder mean nothing to it. Method: "
        f"{_code(results.get('method', ''))} ({choice})."
    )


def _how_good(results: Results) -> str:
    method = results.get("method", "")
    lines = [prediction(results, where) for where in conditions_told(results, method)]
    conclusions = results.get("conclusions", {}).items()
    lines += [f"{label}: {conclusion['statement']}." for label, conclusion in conclusions]
    shots = nearest_shots({row["shots"] for row in results["rows"] if row["shots"]})
    numbers = table(results, method_lines(results), four_way_columns(results, shots=shots))
    caption = "Accuracy in percent, averaged over users, with 95 % intervals:"
    said = [part for titled in answer_tables(results).items() for part in titled]
    return "\n\n".join(["## How good it is", *lines, caption, numbers, *said])


def _axes(described: AxesEntry) -> str:
    if not described["axes"]:
        return ""
    sizes = f"{described['disagreement']:.2f} logits, beside {described['shared']:.2f}"
    head = f"## What people disagree about\n\nUsers differ by {sizes} that all share."
    return "\n\n".join([head, *(_axis(k, axis) for k, axis in enumerate(described["axes"]))])


def _axis(k: int, axis: AxisEntry) -> str:
    ends = {"one side favours": axis["high"], "the other": axis["low"]}
    lines = [f"- {side}: {_end(end[0])}" for side, end in ends.items() if end]
    return "\n".join([f"Axis {k + 1}, {100 * axis['share']:.0f} % of the disagreement:", *lines])


def _end(end: EndEntry) -> str:
    return _code(shorten(end["text"], _LONGEST)) if "text" in end else f"row {end['response']}"


def _data(results: Results, run: RunEntry) -> str:
    data = run["data"]
    about = (
        f"{data['pairs']:,} comparisons by {data['users']:,} users, of {data['responses']:,} "
        f"responses; a part was kept for the test."
    )
    note = results.get("note")
    return "\n\n".join(["## Data", about, *([_code(note)] if note else [])])


def _code(text: str) -> str:
    """Words as they are, in one line: no markup, no links."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
