"""Evaluation: any method on seen or unseen users, on known or new items; one row each.

A row is what one method scores on one condition (users x items) after some shots, averaged over
users (macro), with the per-user values. Every interval, paired difference, table and figure is
computed from rows (`conclusion`, `reporting`), never from the models again. Beside the rows of a
method stand those of its mismatched-user control (`controls`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        shots: what users are known by: the pairs of the fit (seen), pairs to draw from (unseen).
        test: the pairs to predict, of the same users.
    """

    users: Users
    items: Holdout
    shots: Preferences
    test: Preferences


def conditions(split: FourWay) -> list[Condition]:
    """The conditions of a split: seen users known by the pairs of the fit, unseen by shots."""
    shots: dict[Users, Preferences] = {"seen": split.train, "unseen": split.shots}
    tests = split.tests.items()
    return [Condition(users, items, shots[users], test) for (users, items), test in tests]


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
    """Scores methods on conditions: unseen users after shots, seen users after none and all pairs.

    Args:
        methods: by name.
        conditions: what to test on.
        shots: numbers of shots of unseen users; the draws are nested, and the same for all methods.
        data: name of the data set, for the rows.
        split: number of the split, for the rows.
        control: the control that the caller has applied to fit and conditions (`PERMUTED_USERS`);
            None: rows of the mismatched-user control are added (for two users or more).
        seed: draws the shots, the mismatched users, and the simulated choices of the ECE bias.

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
        drawn = {None: given, **{n: draw_shots(given, n, seed=seed) for n in numbers}}
        # Whose pairs are scored with each user's weights: the user's own; as a control, another's.
        owners: dict[Control | None, np.ndarray] = {control: np.arange(asked.num_users)}
        if control is None and asked.num_users > 1:
            owners[MISMATCHED_USER] = derangement(asked.num_users, seed=seed)
        for name, predictor in methods.items():
            for matching, owner in owners.items():
                test = asked.take_users(owner)
                before = predictor.adapted(drawn[0], test)
                for count in counts:
                    if count == 0 and matching == MISMATCHED_USER:
                        continue
                    margins_of = predictor.fitted if count is None else predictor.adapted
                    scored = before if count == 0 else margins_of(drawn[count], test)
                    rows.append(
                        {
                            "data": data,
                            "split": split,
                            "users": users,
                            "items": items,
                            "method": name,
                            "control": matching,
                            "shots": count,
                            **_measure(scored, before, test, owner, seed),
                        }
                    )
    return rows


def _measure(
    scored: Margins, before: Margins, test: Preferences, owner: Int[np.ndarray, " users"], seed: int
) -> Measures:
    """The numbers of a row; `before`: no shots; `owner`: whom each user of `test` stands for."""

    def by_user(values: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " users"]:
        return metrics.per_user_mean(values, owner[test.user], len(owner))

    def macro(values: Float[np.ndarray, " users"]) -> float:
        return float(np.nanmean(values)) if tested else np.nan

    probability = np.asarray(scored.probability, np.float64)
    right, right_before = metrics.correct(scored.mean), metrics.correct(before.mean)
    wins = np.bincount(test.user, right > right_before, minlength=len(owner))
    losses = np.bincount(test.user, right < right_before, minlength=len(owner))
    tested, rng = int((test.pairs_per_user() > 0).sum()), np.random.default_rng(seed)
    accuracy, brier = by_user(right), by_user(metrics.brier(probability))
    log_loss = by_user(-np.asarray(scored.log_probability, np.float64))
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
