"""Does personalising help? Averages and paired differences of per-user values, and a conclusion.

A difference is taken user by user and item by item on the same test pairs, so that what is hard for
everybody cancels. Intervals are for new users and new items (`intervals`). Two methods that predict
few answers otherwise, or none, need not agree on new ones: of n pairs, one more that only one of
them gets right, and one that only the other does, add `2 / n^2` to the variance of a difference of
accuracies (Bonett, Price 2012, "Adjusted Wald confidence interval for a difference of binomial
proportions based on paired data"), and nothing where all probabilities are the same.

The conclusion is yes only if the personal weights save log loss (1) over the population, that is
the same model without any shots, (2) over another user's weights, and (3) over the weights of the
user who was asked about the most similar responses, each with confidence, and if accuracy is not
surely lower than the population's. Evidence comes from log loss, which tells small differences from
noise with about half of the pairs that accuracy needs; the size comes from accuracy, which people
can read.

Over the population the confidence is that of the first step towards the personal predictions
(`metrics.first_step`); the whole way has to save log loss on the average. Weights that are as sure
as they should be lose half of what the first step promises to their own variance, so that the whole
way needs four times the users to show the same. The first step alone would not tell whether
predictions go too far.

The second control keeps a badly fitted population, which anybody's shots improve, from passing:
where users do not differ, a user's own weights and another's are exchangeable. The third one keeps
topics from passing for tastes: where users agree but are asked about different topics, on which one
reward is not right for all, users asked alike have weights that are as good as the user's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from lore_jax.data.splits import Holdout, Users
from lore_jax.evaluation.intervals import Estimate, Sample, Sums, combine, estimate
from lore_jax.evaluation.names import DONOR, MISMATCHED_USER, nearest_shots
from lore_jax.evaluation.results import Where, name_of_shots, per_user, select, users_of
from lore_jax.evaluation.schema import Conclusion, Influences, Metric, Results, Row

SplitKey = tuple[str, int]  # data set, split
_USERS: Final[tuple[Users, Users]] = ("unseen", "seen")
_ITEMS: Final[tuple[Holdout, Holdout]] = ("new items", "known items")


def average(results: Results, where: Where, *, metric: Metric = "accuracy") -> Estimate:
    """Mean of some rows over data sets, splits and users.

    Args:
        results: from `make_results` or `read_results`.
        where: names one row of each split.
        metric: one of the measures of a row.

    Returns:
        The `Estimate`, in the unit of the metric.

    Raises:
        ValueError: no row matches, or several of one split do.

    Example:
        >>> where = Where("unseen", "new items", "gaussian", control=None, shots=20)
        >>> average(results, where).interval()  # doctest: +SKIP
        Interval(mean=0.741, low=0.732, high=0.75)
    """
    return combination(results, [(1.0, rows_by_split(results, where))], metric=metric)


def difference(results: Results, a: Where, b: Where, *, metric: Metric = "accuracy") -> Estimate:
    """Paired difference, a minus b: user by user, on the same splits of the same data sets.

    Args:
        results: from `make_results` or `read_results`.
        a: names one row of each split.
        b: names the rows to compare with; they need the same users and items.
        metric: one of the measures of a row.

    Returns:
        The `Estimate`, in the unit of the metric.

    Raises:
        ValueError: no row matches, several of one split do, or a and b are of different splits or
            of different test pairs.

    Example:
        >>> where = Where("unseen", "new items", "gaussian", control=None, shots=20)
        >>> baseline = where.also(Where(method="ridge BT"))
        >>> difference(results, where, baseline).interval()  # doctest: +SKIP
        Interval(mean=0.024, low=0.016, high=0.033)
    """
    rows_a, rows_b = rows_by_split(results, a), rows_by_split(results, b)
    if rows_a.keys() != rows_b.keys():
        about = f"{a} is about {sorted(rows_a)}, {b} about {sorted(rows_b)}"
        raise ValueError(f"{about}: the same splits are expected")
    return combination(results, [(1.0, rows_a), (-1.0, rows_b)], metric=metric)


def combination(
    results: Results,
    terms: Sequence[tuple[float, Mapping[SplitKey, Row]]],
    *,
    metric: Metric = "accuracy",
) -> Estimate:
    """Sum of weights times rows, user by user: a mean, a difference, or any other combination.

    Args:
        results: from `make_results` or `read_results`.
        terms: weights, and rows by split; the splits of the first are those that count.
        metric: one of the measures of a row.

    Returns:
        The `Estimate`: splits of a data set together, then the mean over data sets.

    Raises:
        ValueError: rows of a split are of different test pairs.

    Example:
        >>> own = rows_by_split(results, where)  # doctest: +SKIP
        >>> combination(results, [(0.5, own), (0.5, other)]).mean  # doctest: +SKIP
        0.71
    """
    tested: dict[SplitKey, Sample] = {}
    unseen: dict[SplitKey, float] = {}  # what answers that happened to agree add to the variance
    for key, first in terms[0][1].items():
        rows = [(weight, of_term[key]) for weight, of_term in terms]
        values = sum(weight * per_user(row, metric) for weight, row in rows)
        items, cells = (
            _sum_of([(weight, row[name]) for weight, row in rows], metric)
            for name in ("per_item", "per_cell")
        )
        tested[key] = Sample(users_of(results, first), np.asarray(values), items, cells)
        agree = all(_same(row, first, "log_loss") for _, row in rows)
        counted = metric == "accuracy" and not agree
        unseen[key] = 2.0 / max(first["num_pairs"], 1) ** 2 if counted else 0.0
    return _over_data_sets(tested, unseen)


def conclude(results: Results, where: Where) -> Conclusion:
    """Whether personalising helps, with the numbers that say so, and in one sentence.

    Args:
        results: with the rows of a method, without shots and with, and of its controls.
        where: the method, the users, the items and the shots; `control` is set here.

    Returns:
        The `Conclusion`.

    Raises:
        ValueError: the rows are not there.

    Example:
        >>> where = Where("unseen", "new items", "gaussian", shots=20)
        >>> conclude(results, where)["statement"]  # doctest: +SKIP
        'Personalising helps: +2.8 points with up to 20 comparisons (median 15) (95 % interval 1.9
        to 3.6, 5 splits)'
    """
    personal = where.also(Where(control=None))
    population = personal.also(Where(shots=0))
    others = {
        "population": population,
        MISMATCHED_USER: personal.also(Where(control=MISMATCHED_USER)),
        DONOR: personal.also(Where(control=DONOR)),
    }
    gains = {name: difference(results, personal, other) for name, other in others.items()}
    saved = {
        name: difference(results, other, personal, metric="log_loss").interval()
        for name, other in others.items()
    }
    passed = {name: interval.low > 0 for name, interval in saved.items()}
    first_step = average(results, personal, metric="first_step").interval()
    passed["population"] = first_step.low > 0 and saved["population"].mean > 0
    gain = gains["population"]
    rows, before = rows_by_split(results, personal), rows_by_split(results, population)
    # What would have shown is told by the splits in which any answer is predicted otherwise. Where
    # none is, the pairing tells no noise, and accuracy's own is an upper bound of it.
    differing = {key: row for key, row in rows.items() if not _same(row, before[key], "accuracy")}
    same = all(_same(row, before[key], "log_loss") for key, row in rows.items())
    noise = average(results, population)
    if differing:
        noise = combination(results, [(1.0, differing), (-1.0, before)])
    helps = all(passed.values()) and bool(differing) and gain.interval().high > 0
    conclusion: Conclusion = {
        "helps": helps,
        "statement": "",
        "over_population": list(gain.interval()),
        "over_mismatched_user": list(gains[MISMATCHED_USER].interval()),
        "over_donor": list(gains[DONOR].interval()),
        "log_loss": {name: list(interval) for name, interval in saved.items()},
        "first_step": list(first_step),
        "would_show": noise.would_show,
        "same_as_population": same and not differing,
        "shots": next(iter(rows.values()))["shots"],
        "median_shots": float(np.median([row["median_shots"] for row in rows.values()])),
        "splits": len({split for _, split in rows}),
        "users": sum(row["num_users"] for row in rows.values()),
        "better": sum(row["better"] for row in rows.values()),
        "worse": sum(row["worse"] for row in rows.values()),
    }
    conclusion["statement"] = _statement(
        conclusion,
        passed,
        unit=name_of_shots(results),
        surely_personal=first_step.low > 0,
        any_differs=bool(differing),
        about_items=gain.about_items,
    )
    return conclusion


def _statement(
    conclusion: Conclusion,
    passed: Mapping[str, bool],
    *,
    unit: str,
    surely_personal: bool,
    any_differs: bool,
    about_items: bool,
) -> str:
    """The conclusion in one sentence.

    `passed`: which comparisons are won; `unit`: what shots are; `surely_personal`: whether the
    first step from the population is; `any_differs`: whether any answer is predicted otherwise than
    by the population; `about_items`: whether the interval is about new items too.
    """
    shown = f"a gain of {100.0 * conclusion['would_show']:.1f} points would have shown"
    if not any_differs:
        kept = "no answer is predicted otherwise than by the population"
        if conclusion["same_as_population"]:
            kept = "validation kept every user at the population"
        return f"No evidence that personalising helps: {kept} ({shown})"
    mean, low, high = (100.0 * value for value in conclusion["over_population"])
    shots, median = conclusion["shots"], conclusion["median_shots"]
    given = f"all their {unit}" if shots is None else f"up to {shots} {unit}"
    splits = conclusion["splits"]
    count = f"{splits} split{'s' * (splits != 1)}"
    if not about_items:
        count = f"{'one split' if splits == 1 else count}: the interval is about users only"
    numbers = (
        f"{mean:+.1f} points with {given} (median {median:g}) "
        f"(95 % interval {low:.1f} to {high:.1f}, {count})"
    )
    if conclusion["helps"]:
        # Log loss tells sooner that users differ than accuracy tells by how much.
        answer = "Personalising helps" if low > 0 else "Personalising helps, by how much is open"
        return f"{answer}: {numbers}"
    reason = ""
    if surely_personal and not passed["population"]:
        reason = ", what shots tell is overstated: probabilities are no better"
    elif passed["population"]:
        if not passed[MISMATCHED_USER]:
            reason = ", but not surely more than with another user's weights"
        elif passed[DONOR]:
            reason = ", probabilities improve, but not the share of right answers"
        else:
            reason = ", but not surely more than with those of users asked about the same topics"
    answer = "No evidence that personalising helps on this data"
    return f"{answer}: {numbers}{reason}; {shown}"


def conclusive(results: Results, method: str) -> list[Where]:
    """What `conclude` can be asked about a method: unseen users (after 20 shots or so) first."""
    questions = []
    for users in _USERS:
        for items in _ITEMS:
            where = Where(users, items, method)
            counts = {row["shots"] for row in select(results, where.also(Where(control=None)))}
            shots = nearest_shots(filter(None, counts)) if users == "unseen" else None
            after = where.also(Where(shots=shots))
            controls = {row["control"] for row in select(results, after)}
            if 0 in counts and controls >= {MISMATCHED_USER, DONOR}:
                questions.append(after)
    return questions


def conclusions_of(results: Results, method: str) -> dict[str, Conclusion]:
    """Everything that can be concluded about a method, by condition: unseen users, new items first.

    Returns:
        For instance `{"Unseen users, new prompts": ..., "Seen users, new prompts": ...}`.
    """
    group_by = results["splits"][0]["group_by"]
    return {
        f"{str(where.users).capitalize()} users, {str(where.items).replace('item', group_by)}": (
            conclude(results, where)
        )
        for where in conclusive(results, method)
    }


def _same(a: Row, b: Row, metric: Metric) -> bool:
    """Whether two methods are as good on every user's pairs, and on every cell's."""
    cells, others = (np.asarray(row["per_cell"][metric], np.float64) for row in (a, b))
    same_users = np.array_equal(per_user(a, metric), per_user(b, metric), equal_nan=True)
    return same_users and np.array_equal(cells, others)


def rows_by_split(results: Results, where: Where) -> dict[SplitKey, Row]:
    """The one row of each split of each data set.

    Raises:
        ValueError: no row matches, or several of one split do.
    """
    rows: dict[SplitKey, Row] = {}
    for row in select(results, where):
        key = row["data"], row["split"]
        if key in rows:
            raise ValueError(f"{where} names several rows of data and split {key}: one is expected")
        rows[key] = row
    if not rows:
        raise ValueError(f"no row matches {where}")
    return rows


def _sum_of(terms: Sequence[tuple[float, Influences]], metric: Metric) -> Sums:
    bucket = np.asarray(terms[0][1]["bucket"], np.int64)
    if not all(np.array_equal(bucket, influences["bucket"]) for _, influences in terms):
        raise ValueError("the rows to compare are of different test pairs: the same are expected")
    values = [weight * np.asarray(influences[metric], np.float64) for weight, influences in terms]
    return Sums(bucket, np.sum(values, axis=0))


def _over_data_sets(
    tested: Mapping[SplitKey, Sample], unseen: Mapping[SplitKey, float]
) -> Estimate:
    """Splits of a data set together, then the mean over data sets; `unseen`: variance to add."""
    estimates = []
    for name in dict.fromkeys(data for data, _ in tested):
        keys = [key for key in tested if key[0] == name]
        known = estimate([tested[key] for key in keys])
        more = float(np.mean([unseen[key] for key in keys]))
        estimates.append(dataclasses.replace(known, variance=known.variance + more))
    return combine(estimates)
