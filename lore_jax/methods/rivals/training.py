"""What methods share whose network is trained by Optax on draws of users.

    params <- params - rate (Adam(gradient) + weight_decay params)      (AdamW, biases not decayed)

A step draws users and pairs of each (`draws`), passes the table through the network's first layer
and gathers the rows drawn. The gradient is summed over shards, so that all keep the same network;
vectors that users have of their own stay on their shard and are stepped by Adam.

Early stopping costs one fit, not several. The rate is constant after a warm-up, predictions are
made with the running average of the parameters, which does what a falling rate does at the end of
a schedule, and this average is kept after a quarter, a half and all of the steps: three variants,
of which validation chooses.

What validation chooses reaches the programs as traced numbers, `hyper`, by the names of the fields.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int32, PyTree, UInt32

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, FoldWeights, Info, Prediction, Stage, predicted
from lore_jax.methods.checks import check_positive
from lore_jax.methods.rivals.draws import Drawn, Pairs, draw
from lore_jax.methods.rivals.network_predictor import NetworkPredictor, margins_of_users
from lore_jax.model.basis import Params
from lore_jax.model.model import rms_row_norm
from lore_jax.parallel.buckets import FitData, Layout, PerUser, UserBucket
from lore_jax.parallel.devices import first_shard, total
from lore_jax.solvers.likelihood import LOGISTIC

Hyper = dict[str, Array]

_MARKS = (0.25, 0.5, 1.0)  # of the steps
_WARM_UP = 0.1  # of the steps
_AVERAGED = 0.98  # 50 steps


@flax.struct.dataclass
class TrainingState:
    """What the next step needs; leaves belong to one shard.

    Attributes:
        params: the parameters of the network.
        average: their running average.
        kept: the average as it was at each mark, `[marks, ...]`.
        optimiser: AdamW's state for the parameters.
        vectors: what belongs to each user, `[size, users]`; None where users have nothing.
        vectors_optimiser: Adam's state for them.
        key: data of the key that all draws come from.
        step: how many steps have been taken.
    """

    params: Params
    average: Params
    kept: Params
    optimiser: PyTree
    vectors: PerUser | None
    vectors_optimiser: PyTree
    key: UInt32[Array, "*shards words"]
    step: Int32[Array, "*shards"]


class Trained(NamedTuple):
    """A trained network.

    Attributes:
        params: the parameters of each variant.
        input_scale: what embeddings are divided by.
    """

    params: Params
    input_scale: Float[Array, "*shards"]


class Objective(NamedTuple):
    """What a shard's draw says, in sums, so that shards add up.

    Attributes:
        loss: what is minimised, times `weight`.
        weight: what it is divided by.
    """

    loss: Float[Array, ""]
    weight: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The half of the contract of methods that train a network; None: chosen on validation.

    A method adds `init_params`, `objective`, `rows` and `user_margins`, and the fields in `GRID`.

    Attributes:
        steps: the most steps.
        stop_after: after how many of them training stops: a quarter, a half or all of them on
            validation.
        learning_rate: of the network.
        weight_decay: decay of the weights of the network, in units of the learning rate.
        users_a_step: the most users that a step draws.
        pairs_a_step: the most pairs that it draws of each.
        least_users: fewer users with pairs are refused.
    """

    GRID: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "learning_rate": (1e-3,),
        "weight_decay": (1.0, 0.1, 0.01),
    }
    VECTOR_RATE: ClassVar[float] = 1.0

    steps: int = 300
    stop_after: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    users_a_step: int = 256
    pairs_a_step: int = 32
    least_users: int = 2

    def __post_init__(self) -> None:
        check_positive(self, "stop_after", *self.GRID)
        for name in ("steps", "users_a_step", "pairs_a_step", "least_users"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: 1 or more is expected")
        if self.stop_after is not None and self.stop_after > self.steps:
            raise ValueError(f"stop_after is {self.stop_after}: 1 to {self.steps} is expected")

    # --- what a method says of its network ---

    @property
    def vector_size(self) -> int:
        """The length of the vector that each user has; 0: users have none."""
        return 0

    def init_params(self, dim: int, *, key: jax.Array) -> Params:
        """The parameters before the first step, for embeddings of length `dim`."""
        raise NotImplementedError

    def objective(
        self,
        params: Params,
        rows: Float[Array, "responses width"],
        vectors: Float[Array, "drawn size"],
        drawn: Drawn,
        hyper: Hyper,
        *,
        key: jax.Array,
        progress: Float[Array, ""],
    ) -> Objective:
        """The objective of a draw; `vectors` of its users, `progress` from 0 to 1."""
        raise NotImplementedError

    def rows(
        self,
        params: Params,
        embeddings: Float[Array, "responses dim"],
        input_scale: Float[Array, ""] | float,
    ) -> Float[Array, "responses width"]:
        """All that the network reads of each response."""
        raise NotImplementedError

    def user_margins(
        self,
        params: Params,
        rows: Float[Array, "responses width"],
        shots: Pairs,
        targets: Pairs,
        hyper: Hyper,
    ) -> tuple[Float[Array, " targets"], Float[Array, " targets"]]:
        """Mean and variance of one user's margins of the targets."""
        raise NotImplementedError

    # --- the contract ---

    @property
    def loss_unit(self) -> str:
        """What the loss is."""
        return "nats a pair, of the users drawn"

    @property
    def by_inner_products(self) -> bool:
        """A network starts at random, in every coordinate."""
        return False

    @property
    def num_minibatches(self) -> int:
        """Steps draw users, not parts of the table."""
        return 1

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
        return [{"stop_after": mark} for mark in self._marks()]

    def input_scale(self, prefs: Preferences) -> float:
        """The RMS norm of the rows."""
        return rms_row_norm(prefs.embeddings)

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Hyper]:
        """The grid's settings."""
        return [{name: jnp.float32(choice[name]) for name in self.GRID} for choice in choices]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """Until all of them have stopped."""
        return int(max(choice.get("stop_after", self.steps) for choice in choices))

    def init(self, data: FitData, hyper: Hyper, *, key: jax.Array) -> TrainingState:
        """The network drawn; users' vectors are 0, the generic user's."""
        key_params, key_draws = jax.random.split(key)
        params = self.init_params(data.embeddings.shape[-1], key=key_params)
        vectors = None
        if self.vector_size:
            counts = [bucket.chosen.shape[-1] for bucket in data.buckets]
            vectors = PerUser(tuple(jnp.zeros((self.vector_size, count)) for count in counts))
        marks = len(self._marks())
        return TrainingState(
            params,
            params,
            jax.tree.map(lambda leaf: jnp.stack([leaf] * marks), params),
            self._optimiser(hyper, 0.0).init(params),
            vectors,
            optax.adam(self.VECTOR_RATE).init(vectors),  # pyright: ignore[reportArgumentType]
            jax.random.key_data(key_draws),
            jnp.zeros((), jnp.int32),
        )

    def step(self, state: TrainingState, data: FitData, hyper: Hyper) -> tuple[TrainingState, Info]:
        """One step of AdamW on the network, and of Adam on the vectors of the users."""
        # Shards draw apart from each other: by their first users, who differ.
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        key = jax.random.fold_in(key, data.users.buckets[0][0] + 1)
        key_draw, key_objective = jax.random.split(key)
        drawn = draw(data, self.users_a_step, self.pairs_a_step, key=key_draw)

        def objective(params: Params, vectors: PerUser | None) -> tuple[Array, Array]:
            return self.objective(
                params,
                self.rows(params, data.table, data.input_scale),
                _of_drawn(vectors, drawn),
                drawn,
                hyper,
                key=key_objective,
                progress=state.step / self.steps,
            )

        (loss, weight), (gradient, of_vectors) = jax.value_and_grad(
            objective, argnums=(0, 1), has_aux=True
        )(state.params, state.vectors)
        loss, weight, gradient = total((loss, weight, gradient))
        share = 1.0 / jnp.where(weight > 0, weight, 1.0)
        gradient = jax.tree.map(lambda leaf: share * leaf, gradient)
        of_vectors = jax.tree.map(lambda leaf: share * leaf, of_vectors)

        warmth = jnp.minimum(1.0, (state.step + 1) / max(1.0, _WARM_UP * self.steps))
        updates, optimiser = self._optimiser(hyper, warmth).update(
            gradient, state.optimiser, state.params
        )
        params = jax.tree.map(jnp.add, state.params, updates)
        by_adam = optax.adam(self.VECTOR_RATE * warmth)
        updates, vectors_optimiser = by_adam.update(of_vectors, state.vectors_optimiser)
        vectors = jax.tree.map(jnp.add, state.vectors, updates)

        step = state.step + 1
        old = jnp.minimum(_AVERAGED, step / (step + 9))
        average = jax.tree.map(lambda a, x: old * a + (1.0 - old) * x, state.average, params)
        reached = jnp.array(self._marks()) == step
        kept = jax.tree.map(
            lambda then, now: jnp.where(reached.reshape(-1, *[1] * now.ndim), now[None], then),
            state.kept,
            average,
        )
        info = Info(share * loss, optax.tree.norm(gradient))
        return TrainingState(
            params, average, kept, optimiser, vectors, vectors_optimiser, state.key, step
        ), info

    def finish(self, state: TrainingState, data: FitData, hyper: Hyper) -> Trained:
        """The averages at the marks, or at the end where that was chosen."""
        if self.stop_after is None:
            return Trained(state.kept, data.input_scale)
        return Trained(jax.tree.map(lambda leaf: leaf[None], state.average), data.input_scale)

    def predict(
        self, fitted: Trained, data: FitData, fold: Sequence[FoldWeights], hyper: Hyper
    ) -> list[Prediction]:
        """Users are found from the fold's shots, with the network frozen."""

        def of_variant(params: Params) -> list[tuple[Array, Array]]:
            rows = self.rows(params, data.table, fitted.input_scale)
            return [
                margins_of_users(
                    self,
                    params,
                    rows,
                    _users_first(bucket, roles.shots),
                    _users_first(bucket, roles.test),
                    hyper,
                )
                for bucket, roles in zip(data.buckets, fold, strict=True)
            ]

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

    def _marks(self) -> list[int]:
        return sorted({max(1, round(mark * self.steps)) for mark in _MARKS})

    def _optimiser(self, hyper: Hyper, warmth: Array | float) -> optax.GradientTransformation:
        def is_kernel(params: Params) -> PyTree:
            return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

        rate = hyper["learning_rate"] * warmth
        decay = hyper["weight_decay"]
        return optax.adamw(rate, weight_decay=decay, mask=is_kernel)  # pyright: ignore[reportArgumentType]


def _of_drawn(vectors: PerUser | None, drawn: Drawn) -> Float[Array, "drawn size"]:
    """The vectors of the users drawn; of length 0 where users have none."""
    if vectors is None:
        return jnp.zeros((len(drawn.users), 0))
    return jnp.concatenate(vectors.buckets, axis=-1)[:, drawn.users].T


def _users_first(bucket: UserBucket, weight: Float[Array, "shots users"]) -> Pairs:
    return Pairs(jnp.asarray(bucket.chosen).T, jnp.asarray(bucket.rejected).T, weight.T)
