"""Results in plain words, for readers who decide: persons, choices of 100, and no terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from lore_jax.data.splits import Holdout, Users
from lore_jax.evaluation.conclusion import average
from lore_jax.evaluation.intervals import Interval
from lore_jax.evaluation.names import nearest_shots
from lore_jax.evaluation.results import Where, name_of_shots, select
from lore_jax.evaluation.schema import Conclusion, Results, Row

_USERS: Final[tuple[Users, Users]] = ("unseen", "seen")  # the harder question first
_ITEMS: Final[tuple[Holdout, Holdout]] = ("new items", "known items")


def conditions_told(results: Results, method: str) -> list[Where]:
    """What is told of a method: new persons (after 20 shots or so), then known ones.

    Of both, on new items where they were tested on some, else on known ones.

    Args:
        results: from `make_results` or `read_results`.
        method: its name.

    Returns:
        At most two, each with rows of its shots and without any.
    """
    told = []
    for users in _USERS:
        for items in _ITEMS:
            where = Where(users, items, method, control=None)
            counts = {row["shots"] for row in select(results, where)}
            given = [count for count in counts if count]
            shots = nearest_shots(given) if users == "unseen" and given else None
            if 0 in counts and shots in counts:
                told.append(where.also(Where(shots=shots)))
                break
    return told


def prediction(results: Results, where: Where) -> str:
    """How many choices of 100 are predicted, with what the person has said and without.

    Args:
        results: from `make_results` or `read_results`.
        where: one of `conditions_told`.

    Returns:
        One sentence.

    Example:
        >>> prediction(results, where)  # doctest: +SKIP
        'With about 15 comparisons each, the model predicts 83 of 100 choices of a new person, on
        new prompts (95 % interval 78 to 88); without knowing the person, 57 (51 to 63).'
    """
    rows = select(results, where)
    after, before = (
        average(results, which).interval() for which in (where, where.also(Where(shots=0)))
    )
    who = {"unseen": "a new person", "seen": "a person it knows"}[str(where.users)]
    choices = f"choices of {who}, {_about(results, where)}"
    given = _plural(typical_shots(rows), name_of_shots(results).removesuffix("s"))
    return (
        f"With about {given} each, the model predicts {_of_100(after)} {choices}"
        f"{_reach(after, '95 % interval ')}; without knowing the person, {before.mean * 100:.0f}"
        f"{_reach(before)}."
    )


def typical_shots(rows: Sequence[Row]) -> float:
    """What the median user gave, over the splits."""
    return float(np.median([row["median_shots"] for row in rows]))


def meaning(conclusion: Conclusion) -> str:
    """What a conclusion means: the answer, its size, and for how many persons.

    Args:
        conclusion: from `conclude`.

    Returns:
        A few short sentences.
    """
    gain = Interval(*conclusion["over_population"])
    size = f"{_points(gain.mean)} more right answers in 100"
    shown = f"{_points(conclusion['would_show'])} more right answers in 100 would have shown"
    if not conclusion["helps"]:
        first = f"These answers do not show that knowing the person helps; {shown}."
    elif gain.low > 0:
        first = f"Knowing the person is worth {size}{_reach(gain, '95 % interval ')}."
    else:
        first = f"Knowing the person helps, by how much is open: {size}{_reach(gain)}."
    users, better, worse = (conclusion[name] for name in ("users", "better", "worse"))
    counts = f"Of {users:,} tested, {better:,} are predicted better and {worse:,} worse"
    return f"{first} A coin gets 50. {counts}; some of both is chance."


def short_answer(conclusion: Conclusion) -> str:
    """Yes or no, in a few words: the beginning of the conclusion's statement."""
    return conclusion["statement"].partition(":")[0]


def shorten(text: str, most: int) -> str:
    """A text in one line, cut behind a word.

    Example:
        >>> shorten("one two  three", 9)
        'one two\u2026'
    """
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    # Words of some scripts are not divided.
    return (text[: most + 1].rpartition(" ")[0] or text[:most]) + "\u2026"


def _about(results: Results, where: Where) -> str:
    """What the choices are about: "on new prompts", "among known responses"."""
    group_by = results["splits"][0]["group_by"]
    preposition = {"prompt": "on", "response": "among"}[group_by]
    return f"{preposition} {str(where.items).replace('item', group_by)}"


def _of_100(interval: Interval) -> str:
    return f"{interval.mean * 100:.0f} of 100"


def _reach(interval: Interval, name: str = "") -> str:
    """The ends of an interval in brackets; nothing where a single user tells none."""
    if not np.isfinite([interval.low, interval.high]).all():
        return ""
    return f" ({name}{_points(interval.low)} to {_points(interval.high)})"


def _points(share: float) -> str:
    """A share of 1 as a number of 100, with a decimal where it is small."""
    points = 100.0 * share
    return f"{points:.0f}" if abs(points) >= 3.0 else f"{points:.1f}"


def _plural(count: float, noun: str) -> str:
    return f"{count:.0f} {noun}{'' if round(count) == 1 else 's'}"
