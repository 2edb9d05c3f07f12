"""Validation: many settings of a joint fit on many folds, by one compiled program.

A fold is three sets of weights on the same pairs, laid out once: pairs that fit the basis, pairs
that adapt users to it (their shots), and pairs that are predicted. Settings are traced numbers,
ranks are masks of columns, so one program of (fold, setting) serves all of them. A fit on a table
in few coordinates (`reduced_table`) is too small to be divided over cores: on a CPU each core has
fits of its own.

A fold mirrors what the model is for. With `holdout="new items"` whole groups (prompts, responses)
are held out, because replies to be ranked will be new; with `holdout="known items"` a part of each
user's own groups.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from lore_jax.data.preferences import Preferences, num_judged
from lore_jax.data.splits import GroupBy, Holdout, folds
from lore_jax.fitting.progress import Progress
from lore_jax.fitting.race import Race, slack
from lore_jax.fitting.reduced_table import reduced_table
from lore_jax.methods.base import AnyMethod, Choice, FoldWeights, Stage
from lore_jax.parallel.buckets import FitData, FoldRows, Layout, PerUser, UserBucket
from lore_jax.parallel.devices import (
    Devices,
    filled_up,
    num_cores,
    on_host,
    over_shards,
    place,
    replicate,
    split,
)
from lore_jax.parallel.rounding import rounded_rows

_EXTENSIONS = 4  # of a grid: a ridge 81 times its largest is as good as none to choose from
_WORTH = 5e-4  # nats: a grid that gains less by going on has ended
_TIE = 1e-6  # nats: settings whose losses are closer than that are equal


class DivergedError(ValueError):
    """A fit whose numbers are not finite any more: there is nothing to choose, or to predict by."""


class SweepTable(NamedTuple):
    """What validation found in one stage.

    Attributes:
        name: the stage's.
        settings: one row a setting: names to values.
        loss: macro mean over users of the log loss on held-out pairs, in nats; NaN for the folds
            that a setting was spared, because it could not win any more (`race.py`).
        accuracy: macro mean over users of the accuracy on held-out pairs.
        best: the row with the lowest mean loss of those on all folds; of equal ones the first.
    """

    name: str
    settings: list[Choice]
    loss: Float[np.ndarray, "settings folds"]
    accuracy: Float[np.ndarray, "settings folds"]
    best: int


def fold_roles(
    prefs: Preferences,
    count: int,
    *,
    holdout: Holdout,
    group_by: GroupBy | None,
    repeats: int = 1,
    seed: int,
) -> dict[str, Float[np.ndarray, "folds pairs"]]:
    """Which pairs do what in each fold.

    Args:
        prefs: the training pairs.
        count: the number of folds.
        holdout: what validation mirrors.
        group_by: what the folds must not cut; None: what `folds` finds.
        repeats: how many times folds are drawn: each draw holds every group out once.
        seed: seed of the folds.

    Returns:
        `fit`, `shots` and `test`, float32 `[folds, pairs]`.

    Raises:
        ValueError: there are too few groups for the folds.
    """
    cuts = [
        cut
        for number in range(repeats)
        for cut in folds(prefs, count, holdout=holdout, group_by=group_by, seed=seed + number)
    ]
    train, test = (
        np.stack(parts) for parts in zip(*[(cut.train, cut.test) for cut in cuts], strict=True)
    )
    # Keeping the users who are predicted out of the fit as well chose no better on real votes, from
    # less data.
    return {
        "fit": prefs.pair_weight * train,
        "shots": prefs.pair_weight * train,
        "test": test.astype(np.float32),
    }


class Placed(NamedTuple):
    """Preferences laid out once for all sweeps.

    Attributes:
        prefs: the pairs, the table in few coordinates if the method allows it.
        data: the same on devices.
        layout: where each user lives.
        devices: where that is.
        measured: what fits in validation found, by what they were.
    """

    prefs: Preferences
    data: FitData
    layout: Layout
    devices: tuple[Any, ...]
    measured: dict[Hashable, Float[np.ndarray, "2 variants"]]


def place_for_sweeps(
    prefs: Preferences, method: AnyMethod, devices: Devices | None = None
) -> Placed:
    """Puts what sweeps of a method need on devices.

    Args:
        prefs: the training pairs.
        method: what is to be fitted.
        devices: where to; None: the first local device alone.

    Returns:
        The `Placed` preferences.
    """
    devices, scale, known = devices or jax.local_devices()[:1], method.input_scale(prefs), {}
    if method.by_inner_products:
        prefs, outside, principal = reduced_table(prefs)
        known = {"outside": outside, "principal": principal}
    prefs = dataclasses.replace(prefs, embeddings=filled_up(prefs.embeddings))
    data, layout = place(prefs, scale, devices)
    known = jax.tree.map(lambda leaf: replicate(leaf, devices), known)
    data = dataclasses.replace(data, **known)
    return Placed(prefs, data, layout, tuple(devices), {})


def sweep(
    placed: Placed,
    stage: Stage,
    choices: Sequence[Choice],
    roles: dict[str, Float[np.ndarray, "folds pairs"]],
    *,
    key: jax.Array,
    spare: bool = True,
    progress: Progress | None = None,
) -> SweepTable:
    """Fits every choice, in all variants of the method, on every fold, by one program.

    Args:
        placed: the training pairs, from `place_for_sweeps`.
        stage: whose method is fitted.
        choices: the settings, in the order in which ties are broken: the most regularised first.
            Each stands in the table once for each of the method's variants. Grids that are
            open-ended go on where the best is at an end.
        roles: from `fold_roles`.
        key: for initialisations, the same in every run.
        spare: settings that cannot win any more are spared folds; False: every one is fitted on
            every fold.
        progress: is told of every fit.

    Returns:
        The table.

    Raises:
        DivergedError: no setting has a finite loss.
    """
    prefs, data, layout, devices, _ = placed
    count, variants = len(roles["test"]), stage.variants()
    spread = {name: layout.spread_pairs(values) for name, values in roles.items()}
    weights = [
        tuple(
            FoldWeights(
                **{name: split(parts[b][:, fold], devices) for name, parts in spread.items()}
            )
            for b in range(len(layout.ids))
        )
        for fold in range(count)
    ]
    of_folds = [
        dataclasses.replace(data, rows=jax.tree.map(lambda leaf: replicate(leaf, devices), rows))
        for rows in _rows_of_folds(prefs, roles)
    ]
    tested = [np.bincount(prefs.user, test, prefs.num_users) for test in roles["test"]]

    # What the candidates say reaches the program by `hyper`: settings, stages and data sets share
    # it.
    names = choices[0].keys() - variants[0].keys()
    method = dataclasses.replace(stage.method, **dict.fromkeys(names))
    steps = method.num_steps(choices)
    program = _program(method, steps, devices)
    drawn = np.asarray(jax.random.key_data(key)).tobytes()
    marks = [
        hashlib.sha256(
            b"".join([drawn, *(values[fold].tobytes() for values in roles.values())])
        ).digest()
        for fold in range(count)
    ]

    def measure(setting: int, fold: int) -> Float[np.ndarray, "2 variants"]:
        """Loss and accuracy of one fit, macro over users."""
        numbers = tuple(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(hypers[setting]))
        known = method, steps, numbers, marks[fold]  # stages may have fits in common
        if known not in placed.measured:
            sums = PerUser(program(weights[fold], of_folds[fold], (hypers[setting], key)))
            found = np.zeros((2, len(stage.method.variants())))
            totals = layout.collect(jax.tree.map(on_host, sums), found)[..., : len(variants)]
            users = tested[fold] > 0
            mean = np.mean(totals[users] / tested[fold][users, None, None], axis=0)
            placed.measured[known] = mean
            if progress is not None:
                progress.fitted(stage.name)
        return placed.measured[known]

    held_out = [num_judged(prefs.take_pairs(test > 0)) for test in roles["test"]]
    behind = slack(held_out, num_judged(prefs)) if spare else np.full(count, np.inf)
    race = Race(measure, behind, at_once=_at_once(devices))
    compared: list[Choice] = []
    hypers: list[PyTree] = []
    further, least = list(choices), np.inf
    for _ in range(1 + _EXTENSIONS):
        more = stage.method.hypers([*compared, *further], prefs)[len(compared) :]
        hypers += jax.tree.map(lambda leaf: replicate(np.asarray(leaf), devices), more)
        race.enter(range(len(compared), len(hypers)))
        compared += further
        # [settings and variants, folds]
        loss, accuracy = np.stack(race.found).transpose(2, 0, 3, 1).reshape(2, -1, count)
        average = loss.mean(axis=1)  # NaN for those that were stopped, or diverged
        if not np.isfinite(average).any():
            raise DivergedError(f"no setting of {stage.name} has a finite loss on all folds")
        best = int(np.flatnonzero(average <= np.nanmin(average) + _TIE)[0])
        further = stage.beyond(compared[best // len(variants)], compared)
        if not further or average[best] > least - _WORTH:
            break
        least = average[best]
    settings = [{**choice, **variant} for choice in compared for variant in variants]
    return SweepTable(stage.name, settings, loss, accuracy, best)


def _rows_of_folds(
    prefs: Preferences, roles: dict[str, Float[np.ndarray, "folds pairs"]]
) -> list[FoldRows]:
    """The rows that each fold judges, and asks for, as many in all: they share a program."""

    def rows_of(weights: Float[np.ndarray, "folds pairs"]) -> list[np.ndarray]:
        found = [
            np.union1d(prefs.chosen[weight > 0], prefs.rejected[weight > 0]) for weight in weights
        ]
        most = rounded_rows(max(map(len, found)))
        return [np.resize(rows, most).astype(np.int32) for rows in found]

    return list(map(FoldRows, rows_of(roles["fit"]), rows_of(roles["test"])))


def _at_once(devices: Devices) -> int:
    """How many fits run at a time: one a core of a single CPU, elsewhere one fills the device."""
    return num_cores() if [device.platform for device in devices] == ["cpu"] else 1


@functools.cache
def _program(
    method: AnyMethod, steps: int, devices: tuple[Any, ...]
) -> Callable[..., tuple[Array, ...]]:
    """Sums over each user's test pairs of loss and correctness.

    Per bucket `[shards, 2, variants, users]`.
    """

    def shard(
        fold: tuple[FoldWeights, ...], data: FitData, shared: tuple[PyTree, Array]
    ) -> tuple[Array, ...]:
        hyper, key = shared
        buckets = tuple(
            UserBucket(bucket.chosen, bucket.rejected, roles.fit)
            for bucket, roles in zip(data.buckets, fold, strict=True)
        )
        part = dataclasses.replace(data, buckets=buckets)
        state = method.init(part, hyper, key=key)
        if steps:
            state, _ = jax.lax.scan(
                lambda state, _: method.step(state, part, hyper), state, length=steps
            )
        predictions = method.predict(method.finish(state, part, hyper), part, fold, hyper)
        return tuple(
            jnp.stack([jnp.sum(value * roles.test[None], axis=1) for value in prediction])
            for prediction, roles in zip(predictions, fold, strict=True)
        )

    return over_shards(shard, donate=False, devices=devices)
