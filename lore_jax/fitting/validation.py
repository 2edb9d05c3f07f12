"""Validation: many settings of a joint fit on many folds, as one compiled program.

A fold is three sets of weights on the same pairs, laid out once: pairs that fit the basis, pairs
that adapt users to it (their shots), and pairs that are predicted. Settings are traced numbers,
ranks are masks of columns, so one function of (fold, setting) serves all of them and is mapped over
the grid; nothing is compiled twice and no Python loop runs over settings.

A fold mirrors what the model is for. With `holdout="new items"` whole groups (prompts, responses)
are held out, because replies to be ranked will be new; with `holdout="known items"` a part of each
user's own groups.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy, Holdout, folds
from lore_jax.methods.base import AnyMethod, Choice, FoldWeights, Stage
from lore_jax.parallel.buckets import FitData, PerUser, UserBucket
from lore_jax.parallel.devices import Devices, on_host, over_shards, place, split

_EXTENSIONS = 4  # of a grid: a ridge 81 times its largest is as good as none to choose from
_TIE = 1e-6  # nats: settings whose losses are closer than that are equal


class SweepTable(NamedTuple):
    """What validation found in one stage.

    Attributes:
        name: the stage's.
        settings: one row a setting: names to values.
        loss: macro mean over users of the log loss on held-out pairs, in nats.
        accuracy: macro mean over users of the accuracy on held-out pairs.
        best: the row with the lowest mean loss; of equal ones the first.
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


def sweep(
    prefs: Preferences,
    input_scale: float,
    stage: Stage,
    choices: Sequence[Choice],
    roles: dict[str, Float[np.ndarray, "folds pairs"]],
    *,
    key: jax.Array,
    devices: Devices | None = None,
    batch: int = 1,
) -> SweepTable:
    """Fits every choice, in all variants of the method, on every fold, by one program.

    Args:
        prefs: the training pairs.
        input_scale: what the basis divides embeddings by.
        stage: whose method is fitted.
        choices: the settings, in the order in which ties are broken: the most regularised first.
            Each stands in the table once for each of the method's variants. Grids that are
            open-ended go on where the best is at an end.
        roles: from `fold_roles`.
        key: for initialisations, the same in every run.
        devices: where to run.
        batch: how many folds are vmapped at a time; the rest are mapped over in sequence.

    Returns:
        The table.
    """
    devices = list(devices) if devices else jax.local_devices()[:1]
    data, layout = place(prefs, input_scale, devices)
    spread = {name: layout.spread_pairs(values) for name, values in roles.items()}
    weights = tuple(
        FoldWeights(**{name: split(values[b], devices) for name, values in spread.items()})
        for b in range(len(layout.ids))
    )
    count, variants = len(roles["test"]), stage.method.variants()
    tested = np.stack(
        [np.bincount(prefs.user, test, prefs.num_users) for test in roles["test"]], axis=-1
    )[:, None, :, None]

    # What the candidates say reaches the program by `hyper`: settings, stages and data sets share
    # it.
    names = choices[0].keys() - variants[0].keys()
    method = dataclasses.replace(stage.method, **dict.fromkeys(names))
    program = _program(method, method.num_steps(choices), batch)

    def means(hyper: PyTree) -> Float[np.ndarray, "variants folds 2"]:
        """Of loss and accuracy, macro over users."""
        sums = jax.tree.map(on_host, PerUser(program(weights, data, (hyper, key))))
        # [num_users, folds, 2, variants] -> [num_users, variants, folds, 2]
        totals = layout.collect(sums, np.zeros((count, 2, len(variants))))
        totals = np.moveaxis(totals, 3, 1)
        mean = np.divide(totals, tested, out=np.full(totals.shape, np.nan), where=tested > 0)
        return np.nanmean(mean, axis=0)

    compared: list[Choice] = []
    further, measured = list(choices), []
    for _ in range(1 + _EXTENSIONS):
        hypers = stage.method.hypers([*compared, *further], prefs)[len(compared) :]
        measured += [means(hyper) for hyper in hypers]
        compared += further
        loss, accuracy = np.moveaxis(np.concatenate(measured), -1, 0)
        average = loss.mean(axis=1)
        best = int(np.flatnonzero(average <= average.min() + _TIE)[0])
        further = stage.beyond(compared[best // len(variants)], compared)
        if not further:
            break
    settings = [{**choice, **variant} for choice in compared for variant in variants]
    return SweepTable(stage.name, settings, loss, accuracy, best)


@functools.cache
def _program(method: AnyMethod, steps: int, batch: int) -> Callable[..., tuple[Array, ...]]:
    """Sums over each user's test pairs of loss and correctness.

    Per bucket `[shards, folds, 2, variants, users]`.
    """

    def shard(
        weights: tuple[FoldWeights, ...], data: FitData, shared: tuple[PyTree, Array]
    ) -> tuple[Array, ...]:
        hyper, key = shared

        def one(fold: tuple[FoldWeights, ...]) -> tuple[Array, ...]:
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

        return jax.lax.map(one, weights, batch_size=batch)

    return over_shards(shard, donate=False)
