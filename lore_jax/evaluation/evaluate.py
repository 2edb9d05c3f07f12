"""Evaluation: any method, on users it knows and does not know, pairs on items it knows and does not
know; one row each.

A row is what one method scores on one condition (seen or unseen users, seen or unseen items) after some
shots. Rows are plain dictionaries of numbers and lists, per-user values included: every interval,
paired difference, table and figure is computed from them later (`conclusion`, `tables`, `plots`),
never from the models again.

Averages are over users (macro): somebody with many pairs counts as much as somebody with few.
Beside the rows of a method stand those of its control, each user scored with another user's weights
(`controls`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np

from lore_jax.data.four_way import FourWay
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import Holdout, Users, draw_shots
from lore_jax.evaluation import metrics
from lore_jax.evaluation.calibration import count_confidences
from lore_jax.evaluation.controls import derangement
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.users.adapt import adapt
from lore_jax.users.predict import Margins, margins

MISMATCHED_USER = "mismatched user"  # the control: each user scored with another user's weights
PERMUTED_USERS = (
    "permuted users"  # the control: everything from the fit on with shuffled user labels
)

Scorer = Callable[[Preferences, Preferences], Margins]
"""Shots and test pairs of the same users -> the margins of the test pairs.

Without shots: what holds for anybody.
"""

# of a user's one-sided sign test; by chance at most this share of the users falls below it
_SIGNIFICANT = 0.025


class Method(NamedTuple):
    """How a method predicts.

    Attributes:
        adapted: for users known by their shots.
        fitted: for users who took part in the fit, when all of their training pairs are used; None:
            `adapted` on these.
    """

    adapted: Scorer
    fitted: Scorer | None = None


class Condition(NamedTuple):
    """One condition of the four-way table.

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


class Row(TypedDict):
    """What one method scores on one condition after some shots; only what JSON can hold (after
    `results.plain`).

    Attributes:
        data: name of the data set.
        split: number of the split.
        users: whether the users took part in the fit.
        items: whether the items did.
        method: name of the method.
        control: None, or which control this is.
        shots: the most pairs of a user that were used; None: all the pairs of the fit.
        num_users: users with a test pair.
        num_pairs: test pairs.
        accuracy: macro mean over users.
        log_loss: in nats, macro mean over users.
        brier: macro mean over users.
        bottom_decile: mean accuracy of the tenth of the users with the lowest.
        ece: expected calibration error of all pairs, folded to the confident side, 15
            bins of equal mass.
        ece_bias: what a perfectly calibrated model with these confidences would score.
        better: users for whom it is right significantly more often than without shots (sign test at
            2.5 %).
        worse: users for whom it is right significantly less often.
        per_user: `accuracy`, `log_loss`, `brier` of each user, NaN without test pairs; users as in
            the split.
        calibration: sums over pairs in fine bins of confidence, from
            `calibration.count_confidences`.
    """

    data: str
    split: int
    users: Users
    items: Holdout
    method: str
    control: str | None
    shots: int | None
    num_users: int
    num_pairs: int
    accuracy: float
    log_loss: float
    brier: float
    bottom_decile: float
    ece: float
    ece_bias: float
    better: int
    worse: int
    per_user: dict[str, Any]
    calibration: dict[str, Any]


def adapting(model: Model) -> Scorer:
    """The scorer that adapts a model to the shots and predicts with the posterior."""
    return lambda shots, test: margins(model, adapt(model, shots), test)


def method(model: Model, users: Posterior) -> Method:
    """A fitted model as a method.

    Args:
        model: from `fit`.
        users: the posterior of the users of the fit, from `fit`.

    Returns:
        Unseen users are adapted to, seen users keep the weights of the fit.

    Example:
        >>> model, users, history = fit(split.train, FitConfig(), key=jax.random.key(0))
        >>> rows = evaluate({"gaussian": method(model, users)}, conditions(split), seed=0)
    """
    return Method(adapting(model), lambda _, test: margins(model, users, test))


def conditions(split: FourWay) -> list[Condition]:
    """The conditions of a split: known users with the pairs of the fit, new users with the pairs to draw
    shots from.
    """
    shots: dict[Users, Preferences] = {"seen": split.train, "unseen": split.shots}
    return [
        Condition(users, items, shots[users], test) for (users, items), test in split.tests.items()
    ]


def evaluate(
    methods: Mapping[str, Method],
    conditions: Sequence[Condition],
    *,
    shots: Sequence[int] = (0, 5, 10, 20, 40),
    data: str = "",
    split: int = 0,
    control: str | None = None,
    seed: int,
) -> list[Row]:
    """Scores methods on conditions: unseen users after each number of shots, seen users after 0 and
    after all their pairs.

    Args:
        methods: names to methods.
        conditions: what to test on.
        shots: numbers of shots of unseen users; the draws are nested, and the same for all methods.
        data: name of the data set, for the rows.
        split: number of the split, for the rows.
        control: None, or the control that the caller has applied to fit and conditions
            (`PERMUTED_USERS`). Without one, rows of each user scored with another user's weights
            are added (conditions of two users or more).
        seed: draws the shots, the other users, and the simulated choices of the ECE bias.

    Returns:
        The rows.

    Raises:
        ValueError: the shots of a condition are of another number of users than its test pairs, or a
            number is negative.

    Example:
        >>> rows = evaluate({"gaussian": method(model, users)}, conditions(split), shots=(0, 5, 20), seed=0)
        >>> [(row["users"], row["shots"], row["control"], row["accuracy"]) for row in rows]
    """
    rows: list[Row] = []
    for condition in conditions:
        if condition.shots.num_users != condition.test.num_users:
            raise ValueError(
                f"the shots are of {condition.shots.num_users} users, the test pairs of {condition.test.num_users}: "
                "the same users are expected"
            )
        steps = list(shots) if condition.users == "unseen" else [0, None]
        drawn = {
            step: condition.shots if step is None else draw_shots(condition.shots, step, seed=seed)
            for step in {0, *steps}
        }
        for name, of in methods.items():
            for kind, who in _whose_tests(condition.test.num_users, control, seed):
                test = condition.test.take_users(who)
                nobody = of.adapted(drawn[0], test)
                for step in steps:
                    if step == 0 and kind == MISMATCHED_USER:
                        continue
                    scorer = of.fitted if step is None and of.fitted is not None else of.adapted
                    scored = nobody if step == 0 else scorer(drawn[step], test)
                    rows.append(
                        Row(
                            data=data,
                            split=split,
                            users=condition.users,
                            items=condition.items,
                            method=name,
                            control=kind,
                            shots=step,
                            **_measure(scored, nobody, test, who, np.random.default_rng(seed)),
                        )
                    )
    return rows


def _whose_tests(
    num_users: int, control: str | None, seed: int
) -> Iterator[tuple[str | None, np.ndarray]]:
    """Whose test pairs are scored with each user's weights, `[num_users]`: one's own; another's, as
    a control.
    """
    yield control, np.arange(num_users)
    if control is None and num_users > 1:
        yield MISMATCHED_USER, derangement(num_users, seed=seed)


def _measure(
    scored: Margins, nobody: Margins, test: Preferences, who: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """The numbers of a row; `who` says to which user of the split each user of `test` belongs."""

    def by_user(values: np.ndarray) -> np.ndarray:
        out = np.empty(len(who))
        out[who] = metrics.per_user_mean(values, test.user, test.num_users)
        return out

    probability = np.asarray(scored.probability, np.float64)
    right, without = metrics.correct(scored.mean), metrics.correct(nobody.mean)
    per_user = {
        "accuracy": by_user(right),
        "log_loss": by_user(metrics.log_loss(scored.logit)),
        "brier": by_user(metrics.brier(probability)),
    }
    count = test.pairs_per_user()
    wins, losses = (
        np.bincount(test.user, won, minlength=len(count))
        for won in (right > without, right < without)
    )
    tested = int((count > 0).sum())
    return {
        "num_users": tested,
        "num_pairs": test.num_pairs,
        **{
            name: float(np.nanmean(values)) if tested else np.nan
            for name, values in per_user.items()
        },
        "bottom_decile": metrics.bottom_share(per_user["accuracy"]),
        "ece": metrics.expected_calibration_error(probability) if tested else np.nan,
        "ece_bias": metrics.ece_bias(probability, rng) if tested else np.nan,
        "better": int((metrics.sign_test(wins, losses) <= _SIGNIFICANT).sum()),
        "worse": int((metrics.sign_test(losses, wins) <= _SIGNIFICANT).sum()),
        "per_user": per_user,
        "calibration": count_confidences(probability),
    }
