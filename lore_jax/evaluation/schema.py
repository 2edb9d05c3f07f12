"""What `results.json` holds, as types: rows, splits, axes of disagreement and conclusions.

Arrays are NumPy where an evaluation makes them, lists where a file was read; NaN is then None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np

from lore_jax.data.splits import GroupBy, Holdout, Users
from lore_jax.evaluation.names import Control

Metric = Literal["accuracy", "log_loss", "brier"]
Values = np.ndarray | Sequence[float | None]


class PerUser(TypedDict):
    """Values of each metric, `[users]`, in the order of the split; NaN without test pairs."""

    accuracy: Values
    log_loss: Values
    brier: Values


class ConfidenceCounts(TypedDict):
    """Sums over the pairs in each fine bin of confidence between 1/2 and 1, `[200]` each."""

    count: Values
    confidence: Values
    right: Values


class Measures(TypedDict):
    """The numbers of a row.

    Attributes:
        num_users: users with a test pair.
        num_pairs: test pairs.
        accuracy: macro mean over users.
        log_loss: in nats, macro mean over users.
        brier: macro mean over users.
        bottom_decile: mean accuracy of the tenth of the users with the lowest.
        ece: expected calibration error of all pairs, folded to the confident side, in 15 bins of
            equal mass.
        ece_bias: what a calibrated model with these confidences would score on as many pairs.
        better: users for whom the method is right significantly more often than without shots
            (sign test at 2.5 %).
        worse: users for whom it is right significantly less often.
        per_user: the values of each user.
        calibration: counts of confidences, from `calibration.count_confidences`.
    """

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
    per_user: PerUser
    calibration: ConfidenceCounts


class Row(Measures):
    """What one method scores on one condition after some shots.

    Attributes:
        data: name of the data set.
        split: number of the split.
        users: whether the users took part in the fit.
        items: whether the items did.
        method: name of the method.
        control: which control this is, or None.
        shots: the most pairs of a user that were used; None: all the pairs of the fit.
    """

    data: str
    split: int
    users: Users
    items: Holdout
    method: str
    control: Control | None
    shots: int | None


class SplitEntry(TypedDict):
    """What results keep of a split.

    Attributes:
        data: name of the data set.
        split: number of the split.
        items: which tests there are.
        group_by: what the split did not cut.
        digest: sha256 of who and what is where.
        users: ids of the original users, in the order of the per-user values.
        dropped: names of what the split left out, to how much.
        chosen: names of methods to what was chosen on validation.
    """

    data: str
    split: int
    items: list[Holdout]
    group_by: GroupBy
    digest: str
    users: dict[Users, Sequence[str | int]]
    dropped: dict[str, int]
    chosen: dict[str, dict[str, float]]


class EndEntry(TypedDict):
    """A response at one end of an axis: its row in the table, its loading in logits, its texts."""

    response: int
    loading: float
    prompt: NotRequired[str]
    text: NotRequired[str]


class AxisEntry(TypedDict):
    """An axis: its share of the disagreement, and the responses at both ends, strongest first."""

    share: float
    high: list[EndEntry]
    low: list[EndEntry]


class Diagnostics(TypedDict):
    """How much of a fit is in use.

    Attributes:
        shared: root mean square, over responses, of the average user's rewards, in logits.
        disagreement: root mean square, over users and responses, of what users add to them, in
            logits.
        offset: root mean square, over responses, of what the average user adds to the population,
            in logits.
        directions: how many directions of disagreement the model has room for.
        effective_rank: how many are in use: `(sum l)^2 / sum l^2` of their mean squares l; 0 where
            users do not differ.
        same_users: the share of the users who add less than 1 % to the average user's rewards.
        columns: what each column adds to rewards: root mean square of its weights over users times
            that of its rewards over responses, in logits, `[rank]`.
        dead_columns: the columns that add less than 1 % of what the strongest does.
        between: mean square of users' deviations in units of the prior's variance; None without a
            prior.
        within: mean posterior variance of a user's deviations, in the same units: where the prior
            fits, `between + within` is near 1.
        warnings: what is wrong, a sentence each.
    """

    shared: float
    disagreement: float
    offset: float
    directions: int
    effective_rank: float
    same_users: float
    columns: list[float]
    dead_columns: list[int]
    between: float | None
    within: float | None
    warnings: list[str]


class AxesEntry(TypedDict):
    """What results keep of the axes of disagreement.

    Attributes:
        axes: the axes, strongest first.
        groups: names of groups of users to their scores `[users, axes]`, at most 2,000 of each.
        population: scores of the population, `[axes]`.
        disagreement: root mean square of what users add to the shared rewards, in logits.
        shared: root mean square of the average user's rewards, in logits.
        diagnostics: how much of the fit is in use.
    """

    axes: list[AxisEntry]
    groups: dict[str, list[list[float]]]
    population: list[float]
    disagreement: float
    shared: float
    diagnostics: NotRequired[Diagnostics]


class Conclusion(TypedDict):
    """Whether personalising helps.

    Attributes:
        helps: whether both differences are above 0 with confidence.
        statement: the same in one sentence, with the numbers.
        over_population: difference to the same method without shots: mean and 95 % interval, in
            shares of 1.
        over_mismatched_user: difference to another user's weights, alike.
        shots: after how many shots; None: all the pairs of the fit.
        splits: how many splits.
        users: users tested, over all splits.
        better: users significantly better off than with the population; chance alone puts at most
            2.5 % here.
        worse: users significantly worse off, alike.
    """

    helps: bool
    statement: str
    over_population: list[float]
    over_mismatched_user: list[float]
    shots: int | None
    splits: int
    users: int
    better: int
    worse: int


class Machine(TypedDict):
    """Where an evaluation ran."""

    python: str
    packages: dict[str, str | None]
    platform: str
    device: str
    devices: int
    cores: int | None


class RunData(TypedDict):
    """The cache that a run was fitted on."""

    cache: str
    encoder: Mapping[str, object]
    responses: int
    dim: int
    dtype: str
    pairs: int
    users: int


class RunEntry(TypedDict):
    """What results say of the run they evaluate."""

    data: RunData
    choice: Mapping[str, float]


class Results(TypedDict):
    """An evaluation.

    Attributes:
        format: version of this format.
        name: what was run.
        config: what it was run with.
        seed: the seed of it all.
        machine: where it ran.
        splits: the splits.
        rows: the rows.
        axes: names of data sets to their axes of disagreement.
        measured: whatever else an experiment has measured, or None.
        method: the method that the results are about.
        run: the run that was evaluated.
        note: what must be said beside every number.
        conclusion: whether personalising helps; None where no rows can tell.
        conclusions: the same of each data set or test, by name.
        paper: published numbers to compare with: data set, method, seen users, unseen users.
        encoder: what made the embeddings.
    """

    format: int
    name: str
    config: object
    seed: int
    machine: Machine
    splits: list[SplitEntry]
    rows: list[Row]
    axes: dict[str, AxesEntry]
    measured: Any
    method: NotRequired[str]
    run: NotRequired[RunEntry]
    note: NotRequired[str | None]
    conclusion: NotRequired[Conclusion | None]
    conclusions: NotRequired[dict[str, Conclusion]]
    paper: NotRequired[list[list[str | float]]]
    encoder: NotRequired[Mapping[str, object]]
