"""MRM: shared rewards and a start of the weights from which a few gradient steps reach a user.

    z = softmax(w_u) . (A e_chosen - A e_rejected),
    w_u = w_0 after some steps of  w <- w - rate gradient of the mean loss on the user's pairs

A, w_0 and the rate are meta-learned. Each outer step cuts every user's pairs at random into support
and query, a random share of them into support, takes the inner steps on the support and descends by
Adam the loss on the query, differentiating through the inner steps (second order):

    sum_u q_u loss_u(query),      q = softmax over users of loss_u(query) / temperature, held fixed,

so that users who are predicted badly weigh more. Where the outer descent stops is chosen on
validation, of one fit's snapshots. Against the paper: A is linear on frozen embeddings, and every
step sees all users instead of a batch of them.

Reference:
    "Meta Reward Modeling" 2026 (model, inner and outer loss, weights of hard users); Finn et al.
    2017, arXiv 1703.03400 (second order); Li et al. 2017, arXiv 1707.09835 (learned rate).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree, UInt32

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
from lore_jax.methods.rivals.inner_steps import InnerStepsPrior, inner_steps, mixed
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model, rms_row_norm
from lore_jax.parallel.buckets import FitData, Layout, features
from lore_jax.parallel.devices import first_shard, total
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.users.adapt import adapt

RANKS = (2, 4, 8)
TEMPERATURES = (10.0, 0.5)  # the first weighs users nearly alike
STEPS = (50, 100, 150)

_START_SCALE = 0.3  # standard deviation of a reward at the start, in logits
_START_RATE = 3.0
_SUPPORT = (0.2, 0.8)  # the least and the most of a user's pairs
_UNUSED = -1e9  # the logit of a column out of use


@flax.struct.dataclass
class Meta:
    """What is meta-learned; snapshots in a leading axis.

    Attributes:
        rewards: A', `[dim, k]`.
        start: w_0, `[k]`.
        log_rate: of the inner steps.
    """

    rewards: Float[Array, "*stops dim k"]
    start: Float[Array, "*stops k"]
    log_rate: Float[Array, "*stops"]


@flax.struct.dataclass
class MetaHyper:
    """What is chosen on validation.

    Attributes:
        columns: 1 for the rewards in use, `[k]`.
        temperature: of the weights of users.
    """

    columns: Float[Array, " k"]
    temperature: Float[Array, ""]


@flax.struct.dataclass
class MetaState:
    """What the next step needs.

    Attributes:
        meta: where the outer descent is.
        optimiser: Adam's state.
        count: the steps taken.
        key: draws the supports.
        snapshots: after each of `STEPS`.
    """

    meta: Meta
    optimiser: optax.OptState
    count: Int[Array, "*shards"]
    key: UInt32[Array, "*shards words"]
    snapshots: Meta


def outer_loss(
    meta: Meta, data: FitData, hyper: MetaHyper, support: Sequence[Array]
) -> Float[Array, ""]:
    """This shard's part of the outer loss.

    Args:
        meta: what is learned.
        data: one shard.
        hyper: columns in use, and the temperature.
        support: 1 for pairs that are support, 0 for query, per bucket `[shots, users]`.
    """
    table = jnp.matmul(
        data.table, meta.rewards / data.input_scale, preferred_element_type=jnp.float32
    )
    start, losses, weights = _start(meta, hyper), [], []
    for bucket, given in zip(data.buckets, support, strict=True):
        along, pair_weight = features(table, bucket), jnp.asarray(bucket.pair_weight)
        logits = inner_steps(start, jnp.exp(meta.log_rate), along, pair_weight * given)
        query = pair_weight * (1.0 - given)
        count = jnp.sum(query, axis=0)
        own = jnp.sum(query * LOGISTIC.loss(mixed(logits, along)), axis=0)
        losses.append(own / jnp.maximum(count, 1e-6))
        hardness = jnp.exp(jax.lax.stop_gradient(losses[-1]) / hyper.temperature)
        weights.append(hardness * (count > 0))
    everybody = total(sum(map(jnp.sum, weights)))
    parts = [jnp.sum(one * loss) for one, loss in zip(weights, losses, strict=True)]
    return sum(parts, jnp.zeros(())) / jnp.maximum(everybody, 1e-6)


def _start(meta: Meta, hyper: MetaHyper) -> Float[Array, " k"]:
    return jnp.where(hyper.columns > 0, meta.start, _UNUSED)


@dataclasses.dataclass(frozen=True)
class MetaLearnedConfig:
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

    @property
    def by_inner_products(self) -> bool:
        """The start is drawn in the table's own coordinates."""
        return False

    @property
    def num_minibatches(self) -> int:
        """Steps are taken on everything."""
        return 1

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
            Stage(
                "rank",
                self,
                tuple({"rank": rank, "temperature": degrees[0]} for rank in ranks),
            ),
            Stage("temperature", self, tuple({"temperature": degree} for degree in degrees)),
        ]

    def variants(self) -> list[Choice]:
        """Where the outer descent stops."""
        return [{"steps": count} for count in (STEPS if self.steps is None else (self.steps,))]

    def input_scale(self, prefs: Preferences) -> float:
        """The RMS norm of the rows, so that settings mean the same for every encoder."""
        return rms_row_norm(prefs.embeddings)

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[MetaHyper]:
        """Columns in use, and the temperature."""
        columns = jnp.arange(max(choice["rank"] for choice in choices))
        return [
            MetaHyper(
                (columns < choice["rank"]).astype(jnp.float32), jnp.float32(choice["temperature"])
            )
            for choice in choices
        ]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """What is given, or as far as there is to choose from."""
        return STEPS[-1] if self.steps is None else self.steps

    def init(self, data: FitData, hyper: MetaHyper, *, key: jax.Array) -> MetaState:
        """Rewards at random, all of them weighed alike."""
        of_rewards, of_supports = jax.random.split(key)
        count = len(hyper.columns)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(of_rewards, jnp.arange(count))
        dim = data.embeddings.shape[1]  # a column's draw does not depend on how many there are
        rewards = jax.vmap(lambda key: jax.random.normal(key, (dim,)))(keys).T
        meta = Meta(
            _START_SCALE * rewards * hyper.columns[None],
            jnp.zeros(count),
            jnp.log(jnp.asarray(_START_RATE)),
        )
        moved: PyTree = meta
        return MetaState(
            meta,
            optax.adam(self.learning_rate).init(moved),
            jnp.zeros((), jnp.int32),
            jax.random.key_data(of_supports),
            jax.tree.map(lambda leaf: jnp.zeros((len(STEPS), *leaf.shape)), meta),
        )

    def step(self, state: MetaState, data: FitData, hyper: MetaHyper) -> tuple[MetaState, Info]:
        """One step of the outer descent."""
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.count)
        support = draw_support(data, key)
        before: PyTree = state.meta
        loss, gradient = jax.value_and_grad(outer_loss)(before, data, hyper, support)
        loss, gradient = total((loss, gradient))
        updates, optimiser = optax.adam(self.learning_rate).update(gradient, state.optimiser)
        meta: PyTree = optax.apply_updates(before, updates)
        count = state.count + 1

        def keep(kept: Array, leaf: Array) -> Array:
            here = (jnp.array(STEPS) == count).reshape(-1, *[1] * leaf.ndim)
            return jnp.where(here, leaf[None], kept)

        snapshots = jax.tree.map(keep, state.snapshots, meta)
        after = MetaState(meta, optimiser, count, state.key, snapshots)
        return after, Info(loss, optax.tree.norm(gradient))

    def finish(self, state: MetaState, data: FitData, hyper: MetaHyper) -> Meta:
        """The snapshots, for embeddings as they are, with the columns out of use marked."""
        meta = state.snapshots
        if self.steps is not None:
            meta = jax.tree.map(lambda leaf: leaf[None], state.meta)
        start = jnp.where(hyper.columns[None] > 0, meta.start, _UNUSED)
        return Meta(meta.rewards / data.input_scale, start, meta.log_rate)

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
        used = meta.start != np.float32(_UNUSED)
        start = jnp.asarray(meta.start[used])
        prior = InnerStepsPrior(jax.nn.softmax(start), start, jnp.exp(jnp.asarray(meta.log_rate)))
        params = {"V": jnp.asarray(meta.rewards[:, used])}
        model = Model(LinearBasis(int(used.sum())), params, jnp.ones(()), prior)
        return BasisPredictor(model, adapt(model, prefs))


def draw_support(data: FitData, key: jax.Array) -> list[Float[Array, "shots _users"]]:
    """1 for the pairs of each user that are support, a random share of them."""

    def draw(user: Array, pairs: int) -> Array:
        of_share, of_pairs = jax.random.split(jax.random.fold_in(key, jnp.maximum(user, 0)))
        share = jax.random.uniform(of_share, minval=_SUPPORT[0], maxval=_SUPPORT[1])
        return (jax.random.uniform(of_pairs, (pairs,)) < share).astype(jnp.float32)

    return [
        jax.vmap(lambda user, pairs=bucket.chosen.shape[0]: draw(user, pairs))(jnp.asarray(ids)).T
        for bucket, ids in zip(data.buckets, data.users.buckets, strict=True)
    ]
