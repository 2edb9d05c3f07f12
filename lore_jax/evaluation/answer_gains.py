"""What is gained: by a user's answers over the population, and by answers over strict pairs.

Both are paired differences with intervals for new users and new items, as `conclusion` takes them:
of the log loss of the answers themselves, and of what the strict pairs in the test say of the same
answers fitted in two ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

from lore_jax.evaluation.conclusion import difference
from lore_jax.evaluation.intervals import Interval
from lore_jax.evaluation.names import MISMATCHED_USER, nearest_shots
from lore_jax.evaluation.results import Where, methods_of, select
from lore_jax.evaluation.schema import AnswerRow, Results, Row

_STRICT = "{}, strict pairs"  # the name of a method that was fitted to what is left of answers


class AnswerGain(NamedTuple):
    """What a user's own answers save in predicting answers of one kind.

    Attributes:
        where: users, items and shots.
        kind: in words.
        answers: how many were predicted, over all splits.
        population: rows of the population, for their numbers.
        personal: rows with the user's own answers.
        saved: log loss saved over the population, in nats an answer.
        over_mismatched: log loss saved over another user's weights; None: one user alone.
    """

    where: Where
    kind: str
    answers: int
    population: list[AnswerRow]
    personal: list[AnswerRow]
    saved: Interval
    over_mismatched: Interval | None


class OverPairs(NamedTuple):
    """What answers as they were said gain over the strict pairs that they make.

    Attributes:
        where: users, items and shots.
        accuracy: gained on the strict pairs of the test, as a share of 1.
        log_loss: saved on them, in nats a pair.
        statement: in one sentence.
    """

    where: Where
    accuracy: Interval
    log_loss: Interval
    statement: str


def strict_pairs_name(method: str) -> str:
    """The name in results of a method fitted to the strict pairs of the same answers.

    Example:
        >>> strict_pairs_name("gaussian")
        'gaussian, strict pairs'
    """
    return _STRICT.format(method)


def answer_gains(results: Results) -> list[AnswerGain]:
    """What users' own answers save, by condition and kind; nothing for results of pairs alone.

    Example:
        >>> [gain.kind for gain in answer_gains(results)]  # doctest: +SKIP
        ['ratings 1-5']
    """
    rows = results.get("answers", [])
    gains = []
    for where in _conditions(rows):
        personal, population = where.also(Where(control=None)), Where(control=None, shots=0)
        for kind in dict.fromkeys(row["kind"] for row in rows):
            own = [row for row in rows if row["kind"] == kind]
            of_kind = cast(Results, {**results, "rows": own})
            after = _rows(of_kind, personal)
            if not after:
                continue
            before = personal.also(population)
            others = personal.also(Where(control=MISMATCHED_USER))
            over = None
            if select(of_kind, others):
                over = difference(of_kind, others, personal, metric="log_loss").interval()
            saved = difference(of_kind, before, personal, metric="log_loss").interval()
            count = sum(row["num_answers"] for row in after)
            gains.append(AnswerGain(where, kind, count, _rows(of_kind, before), after, saved, over))
    return gains


def over_strict_pairs(results: Results, method: str) -> list[OverPairs]:
    """What a method gains by taking answers as they were said, by condition.

    Args:
        results: with rows of the method, and of the same on strict pairs.
        method: its name.

    Returns:
        Nothing where it was not fitted to strict pairs too.

    Example:
        >>> over_strict_pairs(results, "gaussian")[0].statement  # doctest: +SKIP
        'Answers as they were said gain 2.1 points over the strict pairs they make (95 % ...)'
    """
    if strict_pairs_name(method) not in methods_of(results):
        return []
    found = []
    for where in _conditions(results["rows"]):
        own = where.also(Where(method=method, control=None))
        pairs = own.also(Where(method=strict_pairs_name(method)))
        if not select(results, own) or not select(results, pairs):
            continue
        accuracy = difference(results, own, pairs).interval()
        saved = difference(results, pairs, own, metric="log_loss").interval()
        found.append(OverPairs(where, accuracy, saved, _statement(accuracy, saved)))
    return found


def _statement(accuracy: Interval, saved: Interval) -> str:
    mean, low, high = (100.0 * value for value in accuracy)
    numbers = (
        f"{mean:+.1f} points (95 % interval {low:.1f} to {high:.1f}), log loss lower by "
        f"{saved.mean:.3f} ({saved.low:.3f} to {saved.high:.3f})"
    )
    if saved.low > 0:
        return (
            f"Answers as they were said predict better than the strict pairs they make: {numbers}"
        )
    if saved.high < 0:
        return f"The strict pairs that answers make predict better than what was said: {numbers}"
    return f"No difference shows between answers as said and the strict pairs they make: {numbers}"


def _conditions(rows: Sequence[AnswerRow] | Sequence[Row]) -> list[Where]:
    """Unseen users after 20 shots or so and seen users after all their answers, new items first."""
    found = []
    for users in ("unseen", "seen"):
        for items in ("new items", "known items"):
            own = [row for row in rows if (row["users"], row["items"]) == (users, items)]
            counts = {row["shots"] for row in own}
            if users == "seen" and None in counts:
                found.append(Where(users, items, shots=None))
            elif users == "unseen" and any(counts):
                found.append(Where(users, items, shots=nearest_shots(filter(None, counts))))
    return found


def _rows(results: Results, where: Where) -> list[AnswerRow]:
    return cast("list[AnswerRow]", select(results, where))


def mean_of(rows: Sequence[AnswerRow], name: str) -> float:
    """The mean of a number of rows over splits; NaN where it is not known.

    Example:
        >>> mean_of([{"accuracy": 0.5}, {"accuracy": 0.7}], "accuracy")
        0.6
    """
    values = [np.nan if (value := row[name]) is None else float(value) for row in rows]
    return float(np.mean(values))
