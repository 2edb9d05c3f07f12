"""Training a network by Optax on draws of users.

    params <- params - rate (Adam(gradient) + weight_decay params)      (AdamW, biases not decayed)

A step draws users and pairs of each (`draws`), passes the table through the network's first layer
and gathers the rows drawn. The gradient is summed over shards, so that all keep the same network;
vectors that users have of their own stay on their shard and are stepped by Adam.

The rate is constant after a warm-up. Predictions are made with the running average of the
parameters, which does what a falling rate does at the end of a schedule; it is kept after a
quarter, a half and all of the steps.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32, PyTree, UInt32

from lore_jax.methods.base import Info
from lore_jax.methods.rivals.draws import Drawn, draw
from lore_jax.methods.rivals.network import Hyper, Step
from lore_jax.methods.rivals.snapshots import first_snapshots, with_snapshot
from lore_jax.methods.rivals.training_config import TrainingConfig
from lore_jax.model.basis import Params
from lore_jax.parallel.buckets import FitData, PerUser
from lore_jax.parallel.devices import total
from lore_jax.parallel.pytree import pytree

_WARM_UP = 0.1  # of the steps
_AVERAGED = 0.98  # 50 steps


@pytree
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


def first_state(
    network: TrainingConfig, data: FitData, hyper: Hyper, *, key: jax.Array
) -> TrainingState:
    """The network drawn; users' vectors are 0, the generic user's."""
    key_params, key_draws = jax.random.split(key)
    params = network.init_params(data.embeddings.shape[-1], key=key_params)
    vectors = None
    if network.vector_size:
        counts = [bucket.chosen.shape[-1] for bucket in data.buckets]
        vectors = PerUser(tuple(jnp.zeros((network.vector_size, count)) for count in counts))
    return TrainingState(
        params,
        params,
        first_snapshots(params, network.marks),
        _optimiser(hyper, 0.0).init(params),
        vectors,
        optax.adam(network.VECTOR_RATE).init(vectors),  # pyright: ignore[reportArgumentType]
        jax.random.key_data(key_draws),
        jnp.zeros((), jnp.int32),
    )


def train_step(
    network: TrainingConfig, state: TrainingState, data: FitData, hyper: Hyper
) -> tuple[TrainingState, Info]:
    """One step of AdamW on the network, and of Adam on the vectors of the users."""
    # Shards draw apart from each other: by their first users, who differ.
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    key = jax.random.fold_in(key, data.users.buckets[0][0] + 1)
    key_draw, key_objective = jax.random.split(key)
    drawn = draw(data, network.users_a_step, network.pairs_a_step, key=key_draw)
    progress = state.step / network.steps

    def objective(params: Params, vectors: PerUser | None) -> tuple[Array, Array]:
        rows = network.rows(params, data.table, data.input_scale)
        own = _of_drawn(vectors, drawn)
        return network.objective(params, rows, Step(drawn, own, hyper, key_objective, progress))

    (loss, weight), (gradient, of_vectors) = jax.value_and_grad(
        objective, argnums=(0, 1), has_aux=True
    )(state.params, state.vectors)
    loss, weight, gradient = total((loss, weight, gradient))
    share = 1.0 / jnp.where(weight > 0, weight, 1.0)
    gradient = jax.tree.map(lambda leaf: share * leaf, gradient)
    of_vectors = jax.tree.map(lambda leaf: share * leaf, of_vectors)

    warmth = jnp.minimum(1.0, (state.step + 1) / max(1.0, _WARM_UP * network.steps))
    updates, optimiser = _optimiser(hyper, warmth).update(gradient, state.optimiser, state.params)
    params = jax.tree.map(jnp.add, state.params, updates)
    by_adam = optax.adam(network.VECTOR_RATE * warmth)
    updates, vectors_optimiser = by_adam.update(of_vectors, state.vectors_optimiser)
    vectors = jax.tree.map(jnp.add, state.vectors, updates)

    step = state.step + 1
    old = jnp.minimum(_AVERAGED, step / (step + 9))
    average = jax.tree.map(lambda a, x: old * a + (1.0 - old) * x, state.average, params)
    kept = with_snapshot(state.kept, average, step, network.marks)
    info = Info(share * loss, optax.tree.norm(gradient))
    return TrainingState(
        params, average, kept, optimiser, vectors, vectors_optimiser, state.key, step
    ), info


def _optimiser(hyper: Hyper, warmth: Array | float) -> optax.GradientTransformation:
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
