"""MRM: shared rewards and a start of the weights from which a few gradient steps reach a user.

    z = softmax(w_u) . (A e_chosen - A e_rejected),
    w_u = w_0 after some steps of  w <- w - rate gradient of the mean loss on the user's pairs

A, w_0 and the rate are meta-learned: each outer step descends by Adam what users' losses are after
the inner steps (`outer_loss`, `outer_descent`). Against the paper: A is linear on frozen
embeddings, and every step sees all users instead of a batch of them.

Reference:
    "Meta Reward Modeling" 2026.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import (
    BasisPredictor,
    Choice,
    FoldWeights,
    Info,
    Prediction,
    Stage,
    predicted,
)
from lore_jax.methods.checks import check_positive, check_rank, possible_ranks
from lore_jax.methods.defaults import WholeTable, columns_in_use
from lore_jax.methods.rivals.inner_steps import InnerStepsPrior, inner_steps, mixed
from lore_jax.methods.rivals.linear_predictor import linear_predictor
from lore_jax.methods.rivals.outer_descent import STEPS, MetaState, first_state, outer_step
from lore_jax.methods.rivals.outer_loss import UNUSED, Meta, MetaHyper
from lore_jax.parallel.buckets import FitData, Layout, features
from lore_jax.parallel.devices import first_shard
from lore_jax.solvers.likelihood import LOGISTIC

RANKS = (2, 4, 8)
TEMPERATURES = (10.0, 0.5)  # the first weighs users nearly alike


@dataclasses.dataclass(frozen=True)
class MetaLearnedConfig(WholeTable):
    """Meta-learned rewards, start and rate; None: chosen on validation.

    Attributes:
        rank: K, how many rewards are mixed.
        temperature: of the weights of users; small: hard users count more.
        steps: of the outer descent.
        learning_rate: Adam's.

    Example:
        >>> MetaLearnedConfig(rank=2, temperature=1.0, steps=50).num_steps([])
        50
    """

    rank: int | None = None
    temperature: float | None = None
    steps: int | None = None
    learning_rate: float = 0.02

    def __post_init__(self) -> None:
        check_rank(self.rank)
        check_positive(self, "temperature", "steps", "learning_rate")

    @property
    def loss_unit(self) -> str:
        """The outer loss."""
        return "nats a query pair, hard users weighing more"

    def stages(self, prefs: Preferences) -> list[Stage]:
        """The rank, then the temperature.

        Raises:
            ValueError: the rank exceeds the dim, or nobody has two pairs to cut.
        """
        if (prefs.take_pairs(prefs.pair_weight > 0).pairs_per_user() < 2).all():
            raise ValueError(
                "no user has two pairs: meta-learning cuts each user's pairs into support and query"
            )
        ranks = possible_ranks(self.rank, RANKS, prefs.dim, ()) or [prefs.dim]
        degrees = TEMPERATURES if self.temperature is None else (self.temperature,)
        return [
            Stage("rank", self, tuple({"rank": rank, "temperature": degrees[0]} for rank in ranks)),
            Stage("temperature", self, tuple({"temperature": degree} for degree in degrees)),
        ]

    def variants(self) -> list[Choice]:
        """Where the outer descent stops."""
        return [{"steps": count} for count in (STEPS if self.steps is None else (self.steps,))]

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[MetaHyper]:
        """Columns in use, and the temperature."""
        masks = zip(columns_in_use(choices), choices, strict=True)
        return [MetaHyper(mask, jnp.float32(choice["temperature"])) for mask, choice in masks]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """What is given, or as far as there is to choose from."""
        return STEPS[-1] if self.steps is None else self.steps

    def init(self, data: FitData, hyper: MetaHyper, *, key: jax.Array) -> MetaState:
        """Rewards at random, all of them weighed alike."""
        return first_state(data, hyper, self.learning_rate, key=key)

    def step(self, state: MetaState, data: FitData, hyper: MetaHyper) -> tuple[MetaState, Info]:
        """One step of the outer descent."""
        return outer_step(state, data, hyper, self.learning_rate)

    def finish(self, state: MetaState, data: FitData, hyper: MetaHyper) -> Meta:
        """The snapshots, for embeddings as they are, with the columns out of use marked."""
        meta = state.snapshots
        if self.steps is not None:
            meta = jax.tree.map(lambda leaf: leaf[None], state.meta)
        return Meta(meta.rewards / data.input_scale, hyper.start(meta), meta.log_rate)

    def predict(
        self, fitted: Meta, data: FitData, fold: Sequence[FoldWeights], hyper: MetaHyper
    ) -> list[Prediction]:
        """By each user's inner steps on the shots."""
        predictions = []
        for bucket, roles in zip(data.buckets, fold, strict=True):

            def margins(meta: Meta, bucket: object = bucket, shots: Array = roles.shots) -> Array:
                table = jnp.matmul(data.table, meta.rewards, preferred_element_type=jnp.float32)
                along = features(table, bucket)  # pyright: ignore[reportArgumentType]
                return mixed(inner_steps(meta.start, jnp.exp(meta.log_rate), along, shots), along)

            predictions.append(predicted(LOGISTIC, jax.lax.map(margins, fitted)))
        return predictions

    def export(self, fitted: Meta, layout: Layout, prefs: Preferences) -> BasisPredictor:
        """A model whose prior takes the inner steps."""
        meta = jax.tree.map(lambda leaf: np.asarray(first_shard(leaf))[0], fitted)
        used = meta.start != np.float32(UNUSED)
        start = jnp.asarray(meta.start[used])
        prior = InnerStepsPrior(jax.nn.softmax(start), start, jnp.exp(jnp.asarray(meta.log_rate)))
        return linear_predictor(meta.rewards[:, used], prior, prefs)
