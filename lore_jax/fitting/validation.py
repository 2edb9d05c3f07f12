"""Validation: many settings of a joint fit on many folds, by the same few compiled programs.

A fold is three sets of weights on the same pairs, laid out once: pairs that fit the basis, pairs
that adapt users to it (their shots), and pairs that are predicted. Settings are traced numbers,
ranks are masks of columns, so the programs of a fit (`fold_fits`) serve all of them. A fit on a
table in few coordinates (`reduced_table`) is too small to be divided over cores: on a CPU each core
has fits of its own.

A fold mirrors what the model is for. With `holdout="new items"` whole groups (prompts, responses)
are held out, because replies to be ranked will be new; with `holdout="known items"` a part of each
user's own groups.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from lore_jax.data.preferences import Preferences, judged, num_judged
from lore_jax.data.splits import GroupBy, Holdout, folds
from lore_jax.fitting.fold_fits import FoldFits, Kept, Setting
from lore_jax.fitting.progress import Progress
from lore_jax.fitting.race import Race, slack
from lore_jax.fitting.reduced_table import reduced_table
from lore_jax.methods.base import AnyMethod, Choice, Stage
from lore_jax.parallel.buckets import FitData, Layout
from lore_jax.parallel.devices import (
    Devices,
    filled_up,
    num_cores,
    place,
    replicate,
)
from lore_jax.parallel.lapack_threads import one_lapack_thread

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
        kept: what fits in validation leave for later ones.
    """

    prefs: Preferences
    data: FitData
    layout: Layout
    devices: tuple[Any, ...]
    kept: Kept


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
    return Placed(prefs, data, layout, tuple(devices), Kept())


@one_lapack_thread()
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
    """Fits every choice, in all variants of the method, on every fold, by the same programs.

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
    prefs, data, layout, devices, kept = placed
    count, variants = len(roles["test"]), stage.variants()
    # What the candidates say reaches programs by `hyper`: settings, stages and data sets share
    # them.
    names = choices[0].keys() - variants[0].keys()
    method = dataclasses.replace(stage.method, **dict.fromkeys(names))
    fits = FoldFits(
        prefs,
        data,
        layout,
        devices,
        method=method,
        steps=method.num_steps(choices),
        roles=roles,
        key=key,
        kept=kept,
    )

    def measure(number: int, fold: int) -> Float[np.ndarray, "2 variants"]:
        """Loss and accuracy of one fit, macro over users."""
        found = fits.measured(settings[number], fold)  # stages may have fits in common
        if found is None:
            found = fits.measure(settings[number], fold)
            if progress is not None:
                progress.fitted(stage.name)
        return found[:, : len(variants)]

    held_out = [int(judged(prefs, test * prefs.pair_weight).sum()) for test in roles["test"]]
    behind = slack(held_out, num_judged(prefs)) if spare else np.full(count, np.inf)
    race = Race(measure, behind, at_once=_at_once(devices))
    compared: list[Choice] = []
    settings: list[Setting] = []
    further, least = list(choices), np.inf
    for _ in range(1 + _EXTENSIONS):
        hypers = stage.method.hypers([*compared, *further], prefs)[len(compared) :]
        settings += map(fits.setting, hypers)
        race.enter(range(len(compared), len(settings)))
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
    rows = [{**choice, **variant} for choice in compared for variant in variants]
    return SweepTable(stage.name, rows, loss, accuracy, best)


def _at_once(devices: Devices) -> int:
    """How many fits run at a time: one a core of a single CPU, elsewhere one fills the device."""
    return num_cores() if [device.platform for device in devices] == ["cpu"] else 1
