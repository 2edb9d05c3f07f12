"""What `results.json` holds, as types: rows, splits, axes of disagreement and conclusions.

Arrays are NumPy where an evaluation makes them, lists where a file was read; NaN is then None.
`read_results` checks a file by these types.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np

from lore_jax.data.splits import GroupBy, Holdout, Users
from lore_jax.evaluation.names import Control
from lore_jax.storage.json_fields import Between, Count, MaybeNaN

Metric = Literal["accuracy", "log_loss", "brier", "first_step"]
Share = Annotated[float, Between(0, 1, or_null=True)]  # NaN where nobody was tested
Amount = Annotated[float, Between(0, math.inf, or_null=True)]  # the same
Values = np.ndarray | Sequence[float | None]


class ConfidenceCounts(TypedDict):
    """Sums over the pairs in each fine bin of confidence between 1/2 and 1, `[200]` each."""

    count: Values
    confidence: Values
    right: Values


class Influences(TypedDict):
    """Influences in buckets (`lore_jax.evaluation.influences`), those in use alone."""

    bucket: Sequence[Count] | np.ndarray  # their numbers
    accuracy: Values
    log_loss: Values
    brier: Values
    first_step: Values


class Measures(TypedDict):
    """The numbers of a row; accuracy, log loss (in nats) and Brier score are macro over users."""

    num_users: Count  # with a test pair
    num_pairs: Count
    accuracy: Share
    log_loss: Amount
    brier: Share
    bottom_decile: Share  # mean accuracy of the tenth of the users with the lowest
    ece: Share  # of all pairs, folded to the confident side, in 15 bins of equal mass
    ece_bias: Share  # what a calibrated model with these confidences scores on as many pairs
    better: Count  # users with higher accuracy than without shots
    worse: Count  # users with lower accuracy
    per_user: dict[Metric, Values]  # `[users]`, in the order of the split; NaN without test pairs
    per_item: Influences  # of the items of the test
    per_cell: Influences  # of its cells: one user, one item
    calibration: ConfidenceCounts


class Row(Measures):
    """What one method scores on one condition after some shots."""

    data: str  # name of the data set
    split: Count
    users: Users  # whether the users took part in the fit
    items: Holdout  # whether the items did
    method: str
    control: Control | None
    shots: Count | None  # the most pairs of a user that were used; None: all the pairs of the fit
    median_shots: Amount  # what the median user with a test pair gave


class CurveRow(Row):
    """What a fit of some of the users scores on unseen ones: a point of a learning curve."""

    fitted_users: Count
    parts: Count  # into how many parts the users were divided, of which one was fitted
    draw: Count  # which of the parts


class SplitEntry(TypedDict):
    """What results keep of a split."""

    data: str  # name of the data set
    split: Count
    items: list[Holdout]  # which tests there are
    group_by: GroupBy  # what the split did not cut
    digest: str  # sha256 of who and what is where
    users: dict[Users, Sequence[str | int]]  # original ids, in the order of the per-user values
    dropped: dict[str, Count]  # what the split left out
    chosen: dict[str, dict[str, float]]  # names of methods to what was chosen on validation
    given: NotRequired[
        dict[Users, Sequence[Count]]
    ]  # comparisons of each user that a model may use


class FitEntry(TypedDict):
    """What a method of a comparison cost on one split, or why it has no rows."""

    data: str  # name of the data set
    split: Count
    items: Holdout  # which test the fit was made for
    method: str
    user_share: float  # of the seen users, who were fitted; 1: all of them
    users: Count  # in the fit
    note: str | None  # "cannot run: ...", "diverged: ..."; None: it ran
    parameters: Count | None  # numbers that all users share
    seconds: float | None  # to choose on validation folds and to fit, compilation apart
    compile_seconds: float | None
    adapt_one_ms: float | None  # to adapt one user to the shots and to predict a pair
    adapt_thousand_ms: float | None  # the same of 1,000 users in one call


class EndEntry(TypedDict):
    """A response at one end of an axis: its row in the table, its loading in logits, its texts."""

    response: Count
    loading: float
    prompt: NotRequired[str]
    text: NotRequired[str]


class AxisEntry(TypedDict):
    """An axis: its share of the disagreement, and the responses at both ends, strongest first."""

    share: float
    high: list[EndEntry]
    low: list[EndEntry]


class Diagnostics(TypedDict):
    """How much of a fit is in use; sizes of rewards are root mean squares, in logits."""

    shared: float  # size of the average user's rewards, over responses
    disagreement: float  # size of what users add to them, over users and responses
    offset: float  # size of what the average user adds to the population, over responses
    directions: Count  # of disagreement that the model has room for
    effective_rank: float  # of them in use: `(sum l)^2 / sum l^2` of their mean squares l
    same_users: float  # share of the users who add less than 1 % to the average user's rewards
    columns: list[float]  # size of what each column adds to rewards, `[rank]`
    dead_columns: list[Count]  # those that add less than 1 % of what the strongest does
    between: float | None  # mean square of users' deviations over the prior's variance, if any
    within: float | None  # mean posterior variance over it; the two add up to about 1
    warnings: list[str]


class FeatureEntry(TypedDict):
    """A feature of texts that a direction goes with, and its correlation within prompts."""

    feature: str
    correlation: float
    low: float  # of the interval that holds for all correlations looked at, with 95 %
    high: float


class FeaturesEntry(TypedDict):
    """What rewards go with in the texts; only what surely does is named, strongest first."""

    responses: Count  # that were compared
    prompts: Count  # that they answer
    tried: Count  # correlations looked at
    axes: list[list[FeatureEntry]]  # of each axis: what its high side goes with
    population: list[FeatureEntry]  # of what all share


class PickEntry(TypedDict):
    """A user and the reply with the highest reward for this user."""

    user: str
    response: Count  # its row in the table
    sure: Share  # probability that the user prefers it to the other user's
    prompt: NotRequired[str]
    text: NotRequired[str]


class DifferentPicks(TypedDict):
    """Two users who would get different replies to one prompt."""

    replies: Count  # of the prompt, among which were chosen
    picks: list[PickEntry]  # two


class AxesEntry(TypedDict):
    """What results keep of the axes of disagreement, the strongest first."""

    axes: list[AxisEntry]
    groups: dict[str, list[list[float]]]  # scores `[users, axes]`, at most 2,000 users a group
    population: list[float]  # its score on each axis
    disagreement: float  # root mean square of what users add to the shared rewards, in logits
    shared: float  # root mean square of the average user's rewards, in logits
    diagnostics: NotRequired[Diagnostics]
    names: NotRequired[dict[str, list[str]]]  # of the users in `groups`, where they have names
    features: NotRequired[FeaturesEntry | None]  # what axes go with in the texts
    picks: NotRequired[DifferentPicks | None]  # an example; None where nothing is sure


class AnswerRow(TypedDict):
    """What a method scores on answers of one kind in one condition; log losses are in nats.

    The fields up to `shots` are those of a `Row`, and so are those from `per_user` on, in which log
    loss stands alone. Log losses are macro over users.
    """

    data: str
    split: Count
    users: Users
    items: Holdout
    method: str
    control: Control | None
    shots: Count | None
    kind: str  # in words, in the plural; "all answers"
    num_users: Count  # with an answer
    num_answers: Count
    log_loss: Amount
    uninformed: Amount  # of outcomes by how often they occur in the test; of rankings, all alike
    accuracy: Share  # share of answers whose most probable outcome was said; NaN: not listed
    calibration: (
        MaybeNaN  # mean distance of probability from frequency, over all outcomes; NaN: same
    )
    calibration_bias: MaybeNaN  # what chance leaves of it
    per_user: dict[str, Values]
    per_item: Mapping[str, Any]
    per_cell: Mapping[str, Any]


class Conclusion(TypedDict):
    """Whether personalising helps; differences as mean, low and high of the 95 % interval."""

    helps: bool  # shots tell something of the user, with confidence, and log loss improves
    statement: str  # the same in one sentence, with the numbers
    over_population: list[
        MaybeNaN
    ]  # accuracy gained over the same method without shots, share of 1
    over_mismatched_user: list[MaybeNaN]  # accuracy gained over another user's weights
    over_donor: list[MaybeNaN]  # accuracy gained over the weights of the user asked most alike
    log_loss: dict[str, list[MaybeNaN]]  # what is saved over each of the three, in nats
    first_step: list[
        MaybeNaN
    ]  # what a first step from the population saves, in nats of a whole one
    would_show: MaybeNaN  # the least accuracy gained that shows with 80 % power
    same_as_population: bool  # every prediction is the population's
    shots: Count | None  # None: all the pairs of the fit
    median_shots: Amount  # what the median user gave, over the splits
    splits: Count
    users: Count  # tested, over all splits
    better: Count  # users with higher accuracy than with the population
    worse: Count  # users with lower accuracy


class Machine(TypedDict):
    """Where an evaluation ran."""

    python: str
    packages: dict[str, str | None]
    platform: str
    device: str
    devices: Count
    cores: Count | None


class RunData(TypedDict):
    """The cache that a run was fitted on."""

    cache: str
    encoder: Mapping[str, object]
    responses: Count
    dim: Count
    dtype: str
    pairs: Count
    users: Count


class RunEntry(TypedDict):
    """What results say of the run they evaluate."""

    data: RunData
    choice: Mapping[str, float]


class Results(TypedDict):
    """An evaluation."""

    format: int
    name: str  # of what was run
    config: object
    seed: int
    machine: Machine
    splits: list[SplitEntry]
    rows: list[Row]
    axes: dict[str, AxesEntry]  # by data set
    measured: Any  # whatever else an experiment has measured, or None
    method: NotRequired[str]  # that the results are about
    run: NotRequired[RunEntry]  # that was evaluated
    note: NotRequired[str | None]  # what must be said beside every number
    conclusion: NotRequired[Conclusion | None]  # the first one; None where no rows can tell
    conclusions: NotRequired[dict[str, Conclusion]]  # of each condition, data set or test
    answers: NotRequired[list[AnswerRow]]  # where users were fitted by answers of every kind
    learning_curve: NotRequired[list[CurveRow]]  # of fits of a quarter and of half of the users
    paper: NotRequired[list[list[str | float]]]  # published: data, method, seen and unseen users
    fits: NotRequired[list[FitEntry]]  # of a comparison of methods
    fewer_users: NotRequired[dict[str, list[Row]]]  # by share of the seen users who were fitted
    budget: NotRequired[float]  # seconds that a fit of a comparison should take at most
