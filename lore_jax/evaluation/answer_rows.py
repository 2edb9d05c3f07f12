"""Rows of answers: how well every outcome is predicted, of ties, strengths, rankings and ratings.

Beside the rows of strict pairs (`evaluate`), by which kinds and methods can be compared, stand
those of the answers themselves: what a user says, outcome by outcome. Their log loss has the same
per-user values and influences, so that every interval is computed as that of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from lore_jax.data.feedback import Feedback
from lore_jax.data.splits import GroupBy, Holdout, Users
from lore_jax.evaluation.controls import derangement
from lore_jax.evaluation.feedback import score_answers
from lore_jax.evaluation.influences import Buckets, buckets_of_answers, pair_influences
from lore_jax.evaluation.metrics import per_user_mean
from lore_jax.evaluation.names import MISMATCHED_USER, Control, nearest_shots
from lore_jax.evaluation.schema import AnswerRow
from lore_jax.evaluation.shots import draw
from lore_jax.methods.as_said import AnswersPredictor
from lore_jax.users.answering import AnswerPosterior, AnswerProbabilities, answer_probabilities

ALL_ANSWERS = "all answers"


class AnswerCondition(NamedTuple):
    """One condition of the 2 x 2 hold-out (users x items), of answers.

    Attributes:
        users: whether the users took part in the fit.
        items: whether the items did.
        shots: the answers of the fit (seen), answers to draw from (unseen).
        test: the answers to predict, of the same users.
    """

    users: Users
    items: Holdout
    shots: Feedback
    test: Feedback


def answer_rows(
    predictor: AnswersPredictor,
    conditions: Sequence[AnswerCondition],
    *,
    method: str,
    shots: Sequence[int] = (0, 5, 10, 20, 40),
    group_by: GroupBy = "prompt",
    data: str = "",
    split: int = 0,
    seed: int,
) -> list[AnswerRow]:
    """Scores every kind of answer, and all together: unseen users after shots, seen ones after all.

    Args:
        predictor: what was fitted to the answers.
        conditions: what to test on.
        method: its name, for the rows.
        shots: numbers of shots of unseen users, drawn as `evaluate` draws them.
        group_by: what an item is: a prompt, or a response.
        data: name of the data set, for the rows.
        split: number of the split, for the rows.
        seed: draws the shots and the mismatched users.

    Returns:
        The rows; those of mismatched users after the shots reported, or all answers, alone.

    Raises:
        ValueError: the fit does not know a scale of the test.

    Example:
        >>> from lore_jax.methods.as_said import AnswersPredictor
        >>> how = begin_answers(feedback)
        >>> predictor = AnswersPredictor(model, how, adapt_answers(model, how, feedback))
        >>> condition = AnswerCondition("seen", "new items", feedback, feedback)
        >>> rows = answer_rows(predictor, [condition], method="gaussian", seed=0)
        >>> rows[0]["kind"], rows[0]["shots"], rows[-1]["kind"]
        ('pairs', 0, 'all answers')
    """
    rows: list[AnswerRow] = []
    for users, items, given, asked in conditions:
        counts = sorted({0, *shots}) if users == "unseen" else [0, None]
        reported = nearest_shots(filter(None, shots)) if users == "unseen" else None
        buckets = buckets_of_answers(asked, group_by, split=split)
        for count in counts:
            if count is None:
                known = predictor.users
            else:
                drawn = draw(given, count, seed=seed)
                assert isinstance(drawn, Feedback)
                known = predictor.known(drawn)
            of: dict[Control | None, AnswerPosterior] = {None: known}
            if count == reported and asked.num_users > 1:
                wearer = derangement(asked.num_users, seed=seed)
                of[MISMATCHED_USER] = jax.tree.map(lambda leaf, at=wearer: leaf[at], known)
            for control, posterior in of.items():
                predicted = answer_probabilities(
                    predictor.model, predictor.answers, posterior, asked
                )
                about = {"data": data, "split": split, "users": users, "items": items}
                about |= {"method": method, "control": control, "shots": count}
                for measured in _measure(predicted, asked, buckets):
                    rows.append({**about, **measured})  # pyright: ignore[reportArgumentType]
    return rows


def _measure(
    predicted: Sequence[AnswerProbabilities], test: Feedback, buckets: tuple[Buckets, Buckets]
) -> list[dict[str, object]]:
    """The numbers of each kind, and of all answers together where there are several kinds."""
    if not predicted:
        return []
    loss = np.concatenate([-np.asarray(one.log_probability, np.float64) for one in predicted])
    uninformed = np.concatenate([_uninformed(one) for one in predicted])
    user = np.concatenate([block.user for block in test.blocks])
    number = np.repeat(np.arange(len(predicted)), [len(one.recorded) for one in predicted])
    measured = []
    for i, scores in enumerate(score_answers(predicted)):
        fields = ("accuracy", "calibration", "calibration_bias")
        listed = {name: getattr(scores, name) for name in fields}
        own = _losses(loss, uninformed, user, test.num_users, buckets, number == i)
        measured.append({"kind": scores.kind, **listed, **own})
    if len(predicted) > 1:
        nothing = dict.fromkeys(("accuracy", "calibration", "calibration_bias"), np.nan)
        everything = np.ones(len(loss), bool)
        own = _losses(loss, uninformed, user, test.num_users, buckets, everything)
        measured.append({"kind": ALL_ANSWERS, **nothing, **own})
    return measured


def _losses(
    loss: Float[np.ndarray, " answers"],
    uninformed: Float[np.ndarray, " answers"],
    user: np.ndarray,
    num_users: int,
    buckets: tuple[Buckets, Buckets],
    keep: Bool[np.ndarray, " answers"],
) -> dict[str, object]:
    per_user = per_user_mean(loss[keep], user[keep], num_users)
    influence = pair_influences(loss[keep], user[keep], num_users)
    per_item, per_cell = (
        {
            "bucket": found.bucket,
            "log_loss": found._replace(index=found.index[keep], sign=found.sign[keep]).add(
                influence
            ),
        }
        for found in buckets
    )
    return {
        "num_users": int((~np.isnan(per_user)).sum()),
        "num_answers": int(keep.sum()),
        "log_loss": float(np.nanmean(per_user)),
        "uninformed": float(np.nanmean(per_user_mean(uninformed[keep], user[keep], num_users))),
        "per_user": {"log_loss": per_user},
        "per_item": per_item,
        "per_cell": per_cell,
    }


def _uninformed(one: AnswerProbabilities) -> Float[np.ndarray, " answers"]:
    """Log loss of levels by how often they occur, of pairs and rankings by all outcomes alike."""
    if not one.kind.levels or one.kind.name == "pair":
        return np.full(len(one.recorded), np.log(one.kind.num_outcomes))
    count = np.bincount(one.recorded, minlength=one.kind.levels)
    if one.kind.name != "rating":  # which response stands first says nothing, and often who won
        count = count + count[::-1]
    return -np.log(count[one.recorded] / count.sum())
