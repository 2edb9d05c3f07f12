"""The contract of methods for those that train a network: its grid, when it stops, predictions.

Early stopping costs one fit, not several: the averages of the parameters at three marks of the
training are variants, of which validation chooses. What it chooses reaches the programs as traced
numbers, `hyper`, by the names of the fields.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, FoldWeights, Info, Prediction, Stage, predicted
from lore_jax.methods.defaults import WholeTable
from lore_jax.methods.rivals.draws import Pairs
from lore_jax.methods.rivals.network import Hyper
from lore_jax.methods.rivals.network_predictor import NetworkPredictor, margins_of_users
from lore_jax.methods.rivals.training import TrainingState, first_state, train_step
from lore_jax.methods.rivals.training_config import TrainingConfig
from lore_jax.model.basis import Params
from lore_jax.parallel.buckets import FitData, Layout, UserBucket
from lore_jax.parallel.devices import first_shard
from lore_jax.solvers.likelihood import LOGISTIC


class Trained(NamedTuple):
    """A trained network.

    Attributes:
        params: the parameters of each variant.
        input_scale: what embeddings are divided by.
    """

    params: Params
    input_scale: Float[Array, "*shards"]


@dataclasses.dataclass(frozen=True)
class NetworkConfig(TrainingConfig, WholeTable):
    """A method that trains a network: one adds what `UserNetwork` asks, and the fields in `GRID`.

    Steps draw users, not parts of the table.
    """

    @property
    def loss_unit(self) -> str:
        """What the loss is."""
        return "nats a pair, of the users drawn"

    def stages(self, prefs: Preferences) -> list[Stage]:
        """All settings of the grid together."""
        users = int((prefs.weight_per_user() > 0).sum())
        if users < self.least_users:
            raise ValueError(
                f"{type(self).__name__} learns from users, and {users} have pairs: "
                f"{self.least_users} or more are expected"
            )
        given = {name: getattr(self, name) for name in self.GRID}
        values = [self.GRID[name] if given[name] is None else (given[name],) for name in self.GRID]
        candidates = [
            dict(zip(self.GRID, setting, strict=True)) for setting in itertools.product(*values)
        ]
        return [Stage("network", self, tuple(candidates))]

    def variants(self) -> list[Choice]:
        """When training stops, the earliest first."""
        if self.stop_after is not None:
            return [{"stop_after": self.stop_after}]
        return [{"stop_after": mark} for mark in self.marks]

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Hyper]:
        """The grid's settings."""
        return [{name: jnp.float32(choice[name]) for name in self.GRID} for choice in choices]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """Until all of them have stopped."""
        return int(max(choice.get("stop_after", self.steps) for choice in choices))

    def init(self, data: FitData, hyper: Hyper, *, key: jax.Array) -> TrainingState:
        """The network drawn."""
        return first_state(self, data, hyper, key=key)

    def step(self, state: TrainingState, data: FitData, hyper: Hyper) -> tuple[TrainingState, Info]:
        """One step of AdamW on a draw of users."""
        return train_step(self, state, data, hyper)

    def finish(self, state: TrainingState, data: FitData, hyper: Hyper) -> Trained:
        """The averages at the marks, or at the end where that was chosen."""
        if self.stop_after is None:
            return Trained(state.kept, data.input_scale)
        return Trained(jax.tree.map(lambda leaf: leaf[None], state.average), data.input_scale)

    def predict(
        self, fitted: Trained, data: FitData, fold: Sequence[FoldWeights], hyper: Hyper
    ) -> list[Prediction]:
        """Users are found from the fold's shots, with the network frozen."""
        of_buckets = [
            (_pairs(bucket, roles.shots), _pairs(bucket, roles.test))
            for bucket, roles in zip(data.buckets, fold, strict=True)
        ]

        def of_variant(params: Params) -> list[tuple[Array, Array]]:
            rows = self.rows(params, data.table, fitted.input_scale)
            return [margins_of_users(self, params, rows, *pairs, hyper) for pairs in of_buckets]

        found = jax.lax.map(of_variant, fitted.params)
        return [
            predicted(LOGISTIC, *(jnp.moveaxis(values, 1, 2) for values in bucket))
            for bucket in found
        ]

    def export(self, fitted: Trained, layout: Layout, prefs: Preferences) -> NetworkPredictor:
        """The network; users of the fit are found again from their training pairs."""
        (hyper,) = self.hypers([dataclasses.asdict(self)], prefs)
        chosen = dict.fromkeys([*self.GRID, "stop_after"])
        return NetworkPredictor(
            dataclasses.replace(self, **chosen),  # so that fits share programs
            jax.tree.map(lambda leaf: jnp.asarray(first_shard(leaf)[0]), fitted.params),
            jax.tree.map(np.asarray, hyper),
            first_shard(fitted.input_scale),
            prefs.dim,
        )


def _pairs(bucket: UserBucket, weight: Float[Array, "shots users"]) -> Pairs:
    """With the users in front."""
    return Pairs(jnp.asarray(bucket.chosen).T, jnp.asarray(bucket.rejected).T, weight.T)
