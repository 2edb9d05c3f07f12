"""How well answers of every kind are predicted: log loss, calibration of all outcomes, pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lore_jax.data.feedback import Feedback
from lore_jax.data.feedback_splits import strict_pairs
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.users.answering import AnswerProbabilities
from lore_jax.users.predict import margins

_BINS = 15
_DRAWS = 10


class AnswerScores(NamedTuple):
    """How well answers of one kind are predicted.

    Attributes:
        kind: in words.
        answers: how many.
        log_loss: minus the log probability of what was said, mean, in nats.
        uninformed: the same of outcomes by their frequency here (levels) or all alike (rankings):
            what there is to gain.
        accuracy: share of answers whose most probable outcome was said; NaN where not all outcomes
            are listed.
        calibration: over all outcomes of all answers, in bins of equal mass, the mean distance of
            the probability from the frequency; NaN likewise.
        calibration_bias: the same of calibrated probabilities on as many answers: what chance
            leaves of it.
    """

    kind: str
    answers: int
    log_loss: float
    uninformed: float
    accuracy: float
    calibration: float
    calibration_bias: float


def score_answers(predicted: Sequence[AnswerProbabilities]) -> list[AnswerScores]:
    """Scores of the answers of each kind.

    Args:
        predicted: from `answer_probabilities`.

    Returns:
        One row for each block.

    Example:
        >>> how = begin_answers(feedback)
        >>> known = adapt_answers(model, how, feedback)
        >>> rows = score_answers(answer_probabilities(model, how, known, feedback))
        >>> all(0 < row.calibration < 0.2 for row in rows)
        True
    """
    return [_score(one) for one in predicted]


def pair_accuracy(model: Model, users: Posterior, feedback: Feedback) -> float:
    """Share of the strict pairs in answers that the margins order as was said; half on a tie.

    Whatever was answered, this is one measure for all kinds; every pair counts alike.

    Example:
        >>> known = adapt_answers(model, begin_answers(feedback), feedback)
        >>> 0.5 < pair_accuracy(model, known.users, feedback) <= 1.0
        True
    """
    mean = margins(model, users, strict_pairs(feedback)).mean
    return float(np.mean(0.5 * (1.0 + np.sign(mean)))) if len(mean) else float("nan")


def outcome_calibration(
    probability: Float[np.ndarray, "answers outcomes"],
    said: Float[np.ndarray, "answers outcomes"],
) -> float:
    """Mean distance of probabilities from frequencies, all outcomes in bins of equal mass.

    Args:
        probability: of every outcome.
        said: 1 at the outcome that was said, else 0.

    Returns:
        `sum_b n_b / n |mean probability - frequency|`.

    Example:
        >>> even = np.full((1000, 2), 0.5)
        >>> outcome_calibration(even, np.eye(2)[np.arange(1000) % 2]) < 0.01
        True
    """
    p, hit = probability.reshape(-1), said.reshape(-1)
    parts = np.array_split(np.argsort(p, kind="stable"), min(_BINS, len(p)))
    return float(sum(len(b) * abs(p[b].mean() - hit[b].mean()) for b in parts) / len(p))


def _score(one: AnswerProbabilities) -> AnswerScores:
    count, outcomes = len(one.recorded), one.kind.num_outcomes
    uninformed = float(np.log(outcomes))
    if one.kind.levels and one.kind.name != "pair":
        share = np.bincount(one.recorded, minlength=outcomes) / count
        uninformed = float(-np.sum(share * np.log(np.maximum(share, 1e-12))))
    accuracy = calibration = bias = float("nan")
    if one.probability is not None:
        accuracy = float(np.mean(np.argmax(one.probability, axis=1) == one.recorded))
        calibration = outcome_calibration(one.probability, np.eye(outcomes)[one.recorded])
        bias = _bias(one.probability)
    log_loss = -float(np.mean(one.log_probability))
    return AnswerScores(str(one.kind), count, log_loss, uninformed, accuracy, calibration, bias)


def _bias(probability: Float[np.ndarray, "answers outcomes"]) -> float:
    """The mean calibration of outcomes drawn from these very probabilities."""
    rng, values = np.random.default_rng(0), []
    ends = np.cumsum(probability, axis=1)
    for _ in range(_DRAWS):
        drawn = np.sum(rng.random((len(ends), 1)) * ends[:, -1:] > ends, axis=1)
        values.append(outcome_calibration(probability, np.eye(ends.shape[1])[drawn]))
    return float(np.mean(values))
