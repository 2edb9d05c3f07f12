"""Evaluation: any method on seen or unseen users, on known or new items; one row each.

A row is what one method scores on one condition (users x items) after some shots. Rows are plain
dictionaries of numbers and arrays, per-user values included. Every interval, paired difference,
table and figure is computed from them later (`conclusion`, `reporting`), never from the models
again.

Averages are over users (macro): a user with many pairs counts as much as a user with few. Beside
the rows of a method stand those of its mismatched-user control (`controls`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lore_jax.data.four_way import FourWay
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import Holdout, Users, draw_shots
from lore_jax.evaluation import metrics
from lore_jax.evaluation.calibration import count_confidences
from lore_jax.evaluation.controls import derangement
from lore_jax.evaluation.names import MISMATCHED_USER, Control
from lore_jax.evaluation.schema import Measures, Row
from lore_jax.methods.base import Predictor
from lore_jax.users.predict import Margins

_SIGNIFICANT = 0.025  # of a user's one-sided sign test; at most this share of users by chance


class Condition(NamedTuple):
    """One condition of the 2 x 2 hold-out (users x items).

    Attributes:
        users: whether the users took part in the fit.
        items: whether the items (prompts, or responses) did.
        shots: what the users may be known by: the pairs of the fit (seen users), pairs to draw
            shots from (unseen).
        test: the pairs to predict, of the same users.
    """

    users: Users
    items: Holdout
    shots: Preferences
    test: Preferences


def conditions(split: FourWay) -> list[Condition]:
    """The conditions of a split.

    Seen users are known by the pairs of the fit, unseen users by the pairs to draw shots from.
    """
    shots: dict[Users, Preferences] = {"seen": split.train, "unseen": split.shots}
    return [
        Condition(users, items, shots[users], test) for (users, items), test in split.tests.items()
    ]


def evaluate(
    methods: Mapping[str, Predictor],
    conditions: Sequence[Condition],
    *,
    shots: Sequence[int] = (0, 5, 10, 20, 40),
    data: str = "",
    split: int = 0,
    control: Control | None = None,
    seed: int,
) -> list[Row]:
    """Scores methods on conditions: unseen users after shots, seen users after all their pairs.

    Both are also scored without any shots.

    Args:
        methods: names to methods.
        conditions: what to test on.
        shots: numbers of shots of unseen users; the draws are nested, and the same for all methods.
        data: name of the data set, for the rows.
        split: number of the split, for the rows.
        control: None, or the control that the caller has applied to fit and conditions
            (`PERMUTED_USERS`). Without one, the rows of the mismatched-user control are added
            (conditions of two users or more).
        seed: draws the shots, the mismatched users, and the simulated choices of the ECE bias.

    Returns:
        The rows.

    Raises:
        ValueError: the shots of a condition are of another number of users than its test pairs, or
            a number is negative.

    Example:
        >>> methods = {"gaussian": BasisPredictor(model, users)}
        >>> rows = evaluate(methods, conditions(split), shots=(0, 5, 20), seed=0)
        >>> rows[0]["users"], rows[0]["shots"], rows[0]["control"]  # doctest: +SKIP
        ('seen', 0, None)
    """
    rows: list[Row] = []
    for condition in conditions:
        if condition.shots.num_users != condition.test.num_users:
            raise ValueError(
                f"the shots are of {condition.shots.num_users} users, the test pairs of "
                f"{condition.test.num_users}: the same users are expected"
            )
        counts = list(shots) if condition.users == "unseen" else [0, None]
        drawn = {
            count: condition.shots
            if count is None
            else draw_shots(condition.shots, count, seed=seed)
            for count in {0, *counts}
        }
        for name, predictor in methods.items():
            for matching, owner in _matchings(condition.test.num_users, control, seed):
                test = condition.test.take_users(owner)
                baseline = predictor.adapted(drawn[0], test)
                for count in counts:
                    if count == 0 and matching == MISMATCHED_USER:
                        continue
                    margins_of = predictor.fitted if count is None else predictor.adapted
                    scored = baseline if count == 0 else margins_of(drawn[count], test)
                    rng = np.random.default_rng(seed)
                    rows.append(
                        {
                            "data": data,
                            "split": split,
                            "users": condition.users,
                            "items": condition.items,
                            "method": name,
                            "control": matching,
                            "shots": count,
                            **_measure(scored, baseline, test, owner, rng),
                        }
                    )
    return rows


def _matchings(
    num_users: int, control: Control | None, seed: int
) -> Iterator[tuple[Control | None, Int[np.ndarray, " users"]]]:
    """Whose pairs are scored with each user's weights: the user's own; as a control, another's."""
    yield control, np.arange(num_users)
    if control is None and num_users > 1:
        yield MISMATCHED_USER, derangement(num_users, seed=seed)


def _measure(
    scored: Margins,
    baseline: Margins,
    test: Preferences,
    owner: Int[np.ndarray, " users"],
    rng: np.random.Generator,
) -> Measures:
    """The numbers of a row; `owner` is the user of the split that each user of `test` stands for.

    `baseline` are the margins without shots.
    """

    def by_user(values: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " users"]:
        means = np.empty(len(owner))
        means[owner] = metrics.per_user_mean(values, test.user, test.num_users)
        return means

    def macro(values: Float[np.ndarray, " users"]) -> float:
        return float(np.nanmean(values)) if tested else np.nan

    probability = np.asarray(scored.probability, np.float64)
    right, right_before = metrics.correct(scored.mean), metrics.correct(baseline.mean)
    count = test.pairs_per_user()
    wins = np.bincount(test.user, right > right_before, minlength=len(count))
    losses = np.bincount(test.user, right < right_before, minlength=len(count))
    tested = int((count > 0).sum())
    accuracy = by_user(right)
    log_loss = by_user(-np.asarray(scored.log_probability, np.float64))
    brier = by_user(metrics.brier(probability))
    return {
        "num_users": tested,
        "num_pairs": test.num_pairs,
        "accuracy": macro(accuracy),
        "log_loss": macro(log_loss),
        "brier": macro(brier),
        "bottom_decile": metrics.bottom_share(accuracy),
        "ece": metrics.expected_calibration_error(probability) if tested else np.nan,
        "ece_bias": metrics.ece_bias(probability, rng) if tested else np.nan,
        "better": int((metrics.sign_test(wins, losses) <= _SIGNIFICANT).sum()),
        "worse": int((metrics.sign_test(losses, wins) <= _SIGNIFICANT).sum()),
        "per_user": {"accuracy": accuracy, "log_loss": log_loss, "brier": brier},
        "calibration": count_confidences(probability),
    }
