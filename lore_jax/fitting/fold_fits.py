"""The fits of validation: a setting on a fold, and what settings have in common once for all.

Settings that agree in all that a method's first state reads begin alike, and those that agree in
all that its steps read end alike. Of each fold the start of the last fit is kept, and the end of
the best: a stage that only asks more of the end of the winner's fits takes no steps again.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from lore_jax.data.preferences import Preferences, judged
from lore_jax.fitting.programs import first_state, many_steps
from lore_jax.methods.base import AnyMethod, FoldWeights
from lore_jax.parallel.buckets import FitData, FoldRows, Layout, PerUser
from lore_jax.parallel.devices import on_host, over_shards, replicate, split
from lore_jax.parallel.rounding import rounded_rows


@dataclasses.dataclass(frozen=True)
class Kept:
    """What fits of earlier stages leave for later ones.

    Attributes:
        measured: what fits found, by what they were.
        starts: of each method and fold, what the latest first state was made of, and the state.
        ends: of each method and fold the lowest loss, what that fit was made of, its last state.
    """

    measured: dict[Hashable, Float[np.ndarray, "2 variants"]] = dataclasses.field(
        default_factory=dict
    )
    starts: dict[Hashable, tuple[Hashable, PyTree]] = dataclasses.field(default_factory=dict)
    ends: dict[Hashable, tuple[float, Hashable, PyTree]] = dataclasses.field(default_factory=dict)


class Setting(NamedTuple):
    """A setting on devices, whole and as far as parts of the method read it.

    Attributes:
        whole: all of it.
        of_steps: what the first state and the steps read.
        of_init: what the first state reads.
        names: by which the three are known, in this order.
    """

    whole: PyTree
    of_steps: PyTree
    of_init: PyTree
    names: tuple[Hashable, Hashable, Hashable]


class FoldFits:
    """Fits of a method on folds of data that are laid out once.

    Args:
        prefs: the pairs.
        data: the same on devices.
        layout: where each user lives.
        devices: where that is.
        method: what is fitted; what settings say of it is left open.
        steps: in how many steps; 0: the first state is the last.
        roles: from `fold_roles`.
        key: for initialisations.
        kept: of earlier stages; what is found is added.
    """

    def __init__(
        self,
        prefs: Preferences,
        data: FitData,
        layout: Layout,
        devices: tuple[Any, ...],
        *,
        method: AnyMethod,
        steps: int,
        roles: dict[str, Float[np.ndarray, "folds pairs"]],
        key: jax.Array,
        kept: Kept,
    ) -> None:
        self._method, self._steps, self._kept = method, steps, kept
        self._layout, self._devices = layout, devices
        self._key = np.asarray(jax.random.key_data(key))
        count = len(roles["test"])
        spread = {name: layout.spread_pairs(values) for name, values in roles.items()}
        self._weights = [
            tuple(
                FoldWeights(
                    **{name: split(parts[b][:, fold], devices) for name, parts in spread.items()}
                )
                for b in range(len(layout.ids))
            )
            for fold in range(count)
        ]
        self._data = [
            dataclasses.replace(
                data,
                buckets=tuple(
                    dataclasses.replace(bucket, pair_weight=of_bucket.fit)
                    for bucket, of_bucket in zip(data.buckets, weights, strict=True)
                ),
                rows=jax.tree.map(lambda leaf: replicate(leaf, devices), rows),
            )
            for weights, rows in zip(self._weights, _rows_of_folds(prefs, roles), strict=True)
        ]
        self._tested = [np.bincount(prefs.user, test, prefs.num_users) for test in roles["test"]]
        # By what the folds are known: stages may have fits in common.
        self._marks = [
            hashlib.sha256(
                b"".join(
                    [self._key.tobytes(), *(values[fold].tobytes() for values in roles.values())]
                )
            ).digest()
            for fold in range(count)
        ]

    def setting(self, hyper: PyTree) -> Setting:
        """A setting, put on devices once for all folds."""
        parts = [hyper, *(_read_by(self._method, part, hyper) for part in ("steps", "init"))]
        on_hosts = [jax.tree.map(np.asarray, part) for part in parts]
        placed = [
            jax.tree.map(lambda leaf: replicate(leaf, self._devices), part) for part in on_hosts
        ]
        whole, of_steps, of_init = (
            (self._method, self._steps, *(leaf.tobytes() for leaf in jax.tree.leaves(part)))
            for part in on_hosts
        )
        return Setting(*placed, names=(whole, of_steps, of_init))

    def measured(self, setting: Setting, fold: int) -> Float[np.ndarray, "2 variants"] | None:
        """Loss and accuracy of one fit, macro over users; None: it was not made yet."""
        return self._kept.measured.get((setting.names[0], self._marks[fold]))

    def measure(self, setting: Setting, fold: int) -> Float[np.ndarray, "2 variants"]:
        """Makes a fit, and measures the same."""
        method, kept, mark = self._method, self._kept, self._marks[fold]
        end = self._end(setting, fold)
        program = _measured(method, self._devices)
        sums = PerUser(program((end, self._weights[fold]), self._data[fold], setting.whole))
        totals = self._layout.collect(
            jax.tree.map(on_host, sums), np.zeros((2, len(method.variants())))
        )
        users = self._tested[fold] > 0
        mean = np.mean(totals[users] / self._tested[fold][users, None, None], axis=0)
        loss = float(mean[0].min())
        lowest, *_ = kept.ends.get((method, mark), (np.inf,))
        if loss < lowest:
            kept.ends[method, mark] = loss, setting.names[1], end
        return kept.measured.setdefault((setting.names[0], mark), mean)

    def _end(self, setting: Setting, fold: int) -> PyTree:
        """The state after the last step."""
        best = self._kept.ends.get((self._method, self._marks[fold]))
        if best is not None and best[1] == setting.names[1]:
            return best[2]
        start = self._start(setting, fold)
        if not self._steps:
            return start
        program = many_steps(self._method, self._steps, "jit", self._devices, donate=False)
        return program(start, self._data[fold], setting.of_steps)[0]

    def _start(self, setting: Setting, fold: int) -> PyTree:
        """The state before the first step."""
        at = self._method, self._marks[fold]
        last, state = self._kept.starts.get(at, (None, None))
        if last != setting.names[2]:
            program = first_state(self._method, self._devices)
            state = program((), self._data[fold], (setting.of_init, self._key))
            self._kept.starts[at] = setting.names[2], state
        return state


def _read_by(method: AnyMethod, part: str, hyper: PyTree) -> PyTree:
    """What a part of the method reads of a setting; all, where the method does not say."""
    reads: Callable[[PyTree], PyTree] | None = getattr(method, f"read_by_{part}", None)
    return hyper if reads is None else reads(hyper)


def _rows_of_folds(
    prefs: Preferences, roles: dict[str, Float[np.ndarray, "folds pairs"]]
) -> list[FoldRows]:
    """The rows that each fold judges and those it asks for, as many in every fold.

    Folds so share a program.
    """

    def rows_of(weights: Float[np.ndarray, "folds pairs"]) -> list[np.ndarray]:
        found = [np.flatnonzero(judged(prefs, weight)) for weight in weights]
        most = rounded_rows(max(map(len, found)))
        return [np.resize(rows, most).astype(np.int32) for rows in found]

    return list(map(FoldRows, rows_of(roles["fit"]), rows_of(roles["test"])))


@functools.cache
def _measured(method: AnyMethod, devices: tuple[Any, ...]) -> Callable[..., tuple[Array, ...]]:
    """Sums over each user's test pairs of loss and correctness.

    Per bucket `[shards, 2, variants, users]`.
    """

    def shard(
        of_users: tuple[PyTree, tuple[FoldWeights, ...]], data: FitData, hyper: PyTree
    ) -> tuple[Array, ...]:
        state, fold = of_users
        predictions = method.predict(method.finish(state, data, hyper), data, fold, hyper)
        return tuple(
            jnp.stack([jnp.sum(value * roles.test[None], axis=1) for value in prediction])
            for prediction, roles in zip(predictions, fold, strict=True)
        )

    return over_shards(shard, donate=False, devices=devices)
