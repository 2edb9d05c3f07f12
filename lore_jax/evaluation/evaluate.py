"""Evaluation: any method on seen or unseen users, on known or new items; one row each.

A row is what one method scores on one condition (users x items) after some shots, averaged over
users (macro), with the per-user values and the influences of the items. Every interval, paired
difference, table and figure is computed from rows (`conclusion`, `reporting`), never from the
models again. Beside the rows of a method stand those of its mismatched-user and donor controls
(`controls`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from lore_jax.data.feedback import Feedback
from lore_jax.data.four_way import FourWay
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy, Holdout, Users
from lore_jax.evaluation import metrics
from lore_jax.evaluation.calibration import count_confidences, pool
from lore_jax.evaluation.controls import derangement, donors, with_weights_of
from lore_jax.evaluation.influences import Buckets, buckets_of, pair_influences
from lore_jax.evaluation.names import DONOR, MISMATCHED_USER, Control
from lore_jax.evaluation.schema import Influences, Measures, Metric, Row, Values
from lore_jax.evaluation.shots import asked_about, count_per_user, draw
from lore_jax.methods.as_said import AnswersPredictor, ByStrictPairs
from lore_jax.methods.base import Predictor
from lore_jax.users.predict import Margins


class Condition(NamedTuple):
    """One condition of the 2 x 2 hold-out (users x items).

    Attributes:
        users: whether the users took part in the fit.
        items: whether the items (prompts, or responses) did.
        shots: what users are known by: the pairs of the fit (seen), pairs to draw from (unseen).
        test: the pairs to predict, of the same users.
    """

    users: Users
    items: Holdout
    shots: Preferences
    test: Preferences


class ConditionByAnswers(NamedTuple):
    """The same where users are known by answers of every kind, which is what methods then take."""

    users: Users
    items: Holdout
    shots: Feedback
    test: Preferences


def conditions(split: FourWay) -> list[Condition]:
    """The conditions of a split: seen users known by the pairs of the fit, unseen by shots."""
    shots: dict[Users, Preferences] = {"seen": split.train, "unseen": split.shots}
    tests = split.tests.items()
    return [Condition(users, items, shots[users], test) for (users, items), test in tests]


def evaluate(
    methods: Mapping[str, Predictor | AnswersPredictor | ByStrictPairs],
    conditions: Sequence[Condition | ConditionByAnswers],
    *,
    shots: Sequence[int] = (0, 5, 10, 20, 40),
    group_by: GroupBy = "prompt",
    data: str = "",
    split: int = 0,
    control: Control | None = None,
    with_controls: bool = True,
    seed: int,
) -> list[Row]:
    """Scores methods on conditions: unseen users after shots, seen users after none and all pairs.

    Args:
        methods: by name; they take what users are known by in the conditions.
        conditions: what to test on.
        shots: numbers of shots of unseen users; the draws are nested, and the same for all methods.
        group_by: what an item is: a prompt, or where all pairs answer one, a response.
        data: name of the data set, for the rows.
        split: number of the split, for the rows.
        control: the control that the caller has applied to fit and conditions (`PERMUTED_USERS`);
            None: rows of the mismatched-user and of the donor control are added (for two users or
            more).
        with_controls: whether they are.
        seed: draws the shots and the mismatched users.

    Returns:
        The rows.

    Raises:
        ValueError: shots and test pairs are of different users, or a number of shots is negative.

    Example:
        >>> from lore_jax.methods.base import BasisPredictor
        >>> rows = evaluate({"m": BasisPredictor(model, users)}, conditions(split), seed=0)
        >>> rows[0]["users"], rows[0]["shots"], rows[0]["control"]
        ('seen', 0, None)
    """
    rows: list[Row] = []
    for users, items, given, asked in conditions:
        if given.num_users != asked.num_users:
            raise ValueError(
                f"the shots are of {given.num_users} users, the test pairs of {asked.num_users}: "
                "the same users are expected"
            )
        counts = list(shots) if users == "unseen" else [0, None]
        numbers = {0, *(count for count in counts if count is not None)}
        drawn: dict[int | None, Any] = {None: given}
        drawn |= {n: draw(given, n, seed=seed) for n in numbers}
        tested = asked.pairs_per_user() > 0
        buckets = buckets_of(asked, group_by, split=split)
        # With whose weights each user is scored: the user's own; as a control, another's.
        weights_of: dict[Control | None, np.ndarray] = {control: np.arange(asked.num_users)}
        if with_controls and control is None and asked.num_users > 1:
            weights_of[MISMATCHED_USER] = derangement(asked.num_users, seed=seed)
            about = asked_about(given)
            weights_of[DONOR] = donors(about, mismatched=weights_of[MISMATCHED_USER])
        for name, predictor in methods.items():
            before = predictor.adapted(drawn[0], asked)
            for matching, wearer in weights_of.items():
                for count in counts:
                    if count == 0 and matching in (MISMATCHED_USER, DONOR):
                        continue
                    margins_of: Any = predictor.fitted if count is None else predictor.adapted
                    scored = before
                    if count != 0:
                        scored = with_weights_of(wearer, margins_of, drawn[count], asked)
                    amounts = count_per_user(drawn[count])[tested]
                    rows.append(
                        {
                            "data": data,
                            "split": split,
                            "users": users,
                            "items": items,
                            "method": name,
                            "control": matching,
                            "shots": count,
                            "median_shots": float(np.median(amounts)) if tested.any() else np.nan,
                            **_measure(scored, before, asked, buckets),
                        }
                    )
    return rows


def _measure(
    scored: Margins, before: Margins, test: Preferences, buckets: tuple[Buckets, Buckets]
) -> Measures:
    """The numbers of a row; `before`: without shots; `buckets`: of items and of cells."""
    probability = np.asarray(scored.probability, np.float64)
    values: dict[Metric, Float[np.ndarray, " pairs"]] = {
        "accuracy": metrics.correct(scored.mean),
        "log_loss": -np.asarray(scored.log_probability, np.float64),
        "brier": metrics.brier(probability),
        "first_step": metrics.first_step(probability, before.probability),
    }

    def by_user(values: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " users"]:
        return metrics.per_user_mean(values, test.user, test.num_users)

    per_user: dict[Metric, Values] = {metric: by_user(value) for metric, value in values.items()}
    accuracy = by_user(values["accuracy"])
    gained = accuracy - by_user(metrics.correct(before.mean))
    tested = int((test.pairs_per_user() > 0).sum())
    influence: dict[Metric, Float[np.ndarray, " pairs"]] = {
        metric: pair_influences(value, test.user, test.num_users)
        for metric, value in values.items()
    }
    per_item, per_cell = (_influences(part, influence) for part in buckets)
    counts = count_confidences(probability)
    calibration = pool([counts])

    def macro(metric: Metric) -> float:
        return float(np.nanmean(by_user(values[metric]))) if tested else np.nan

    return {
        "num_users": tested,
        "num_pairs": test.num_pairs,
        "accuracy": macro("accuracy"),
        "log_loss": macro("log_loss"),
        "brier": macro("brier"),
        "bottom_decile": metrics.bottom_share(accuracy),
        "ece": calibration.ece,
        "ece_bias": calibration.ece_bias,
        "better": int((gained > 0).sum()),
        "worse": int((gained < 0).sum()),
        "per_user": per_user,
        "per_item": per_item,
        "per_cell": per_cell,
        "calibration": counts,
    }


def _influences(
    buckets: Buckets, influence: Mapping[Metric, Float[np.ndarray, " pairs"]]
) -> Influences:
    return {
        "bucket": buckets.bucket,
        "accuracy": buckets.add(influence["accuracy"]),
        "log_loss": buckets.add(influence["log_loss"]),
        "brier": buckets.add(influence["brier"]),
        "first_step": buckets.add(influence["first_step"]),
    }
