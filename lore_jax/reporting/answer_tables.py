"""Tables of answers of every kind: how each is predicted, and what a user's own answers add."""

from __future__ import annotations

import math

from lore_jax.evaluation.answer_gains import AnswerGain, answer_gains, mean_of
from lore_jax.evaluation.results import Where
from lore_jax.evaluation.schema import Results
from lore_jax.reporting.tables import Cells, items_label, markdown, show

_HEAD = [
    "",
    "answers",
    "saved, nats",
    "over another user's weights",
    "log loss",
    "population",
    "uninformed",
    "accuracy, %",
    "calibration (bias)",
]


def answer_tables(results: Results) -> dict[str, str]:
    """A table of kinds in Markdown for each condition; none for results of pairs alone.

    Example:
        >>> print(*answer_tables(results).values())  # doctest: +SKIP
    """
    return {title: markdown(cells) for title, cells in answer_cells(results).items()}


def answer_cells(results: Results) -> dict[str, Cells]:
    """The same as cells, the head first, by what the table is about.

    Saved is the log loss of an answer with the user's own shots less than without any, in nats,
    averaged over users, with the 95 % interval for new users and new items. Uninformed: every level
    as probable as it is frequent. Calibration: the mean distance of probabilities from frequencies
    over all outcomes; in brackets what chance leaves of it.
    """
    tables: dict[str, Cells] = {}
    for gain in answer_gains(results):
        title = f"{condition_label(gain.where, results)}, by what was said"
        tables.setdefault(title, [_HEAD]).append(_line(gain))
    return tables


def condition_label(where: Where, results: Results) -> str:
    """A condition in words.

    Example:
        >>> results = {"splits": [{"group_by": "prompt"}]}
        >>> condition_label(Where("unseen", "new items", shots=20), results)
        'Unseen users after 20 answers, new prompts'
    """
    after = "all their answers" if where.shots is None else f"{where.shots} answers"
    assert where.items is not ...
    return (
        f"{str(where.users).capitalize()} users after {after}, {items_label(where.items, results)}"
    )


def _line(gain: AnswerGain) -> list[str]:
    personal, over = gain.personal, gain.over_mismatched
    calibration = mean_of(personal, "calibration")
    bias = mean_of(personal, "calibration_bias")
    accuracy = mean_of(personal, "accuracy")
    return [
        gain.kind,
        f"{gain.answers:,}",
        show(gain.saved, "log_loss"),
        "" if over is None else show(over, "log_loss"),
        f"{mean_of(personal, 'log_loss'):.3f}",
        f"{mean_of(gain.population, 'log_loss'):.3f}",
        f"{mean_of(personal, 'uninformed'):.3f}",
        "" if math.isnan(accuracy) else f"{100 * accuracy:.1f}",
        "" if math.isnan(calibration) else f"{calibration:.3f} ({bias:.3f})",
    ]
