"""The outer descent of meta-learning: Adam on rewards, start and rate, with new supports each step.

Where it stops is chosen on validation, of one fit's snapshots.

Reference:
    "Meta Reward Modeling" 2026; Li et al. 2017, arXiv 1707.09835 (learned rate).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree, UInt32

from lore_jax.methods.base import Info
from lore_jax.methods.rivals.outer_loss import Meta, MetaHyper, draw_support, outer_loss
from lore_jax.methods.rivals.snapshots import first_snapshots, with_snapshot
from lore_jax.parallel.buckets import FitData
from lore_jax.parallel.devices import total
from lore_jax.parallel.pytree import pytree

STEPS = (50, 100, 150)

_START_SCALE = 0.3  # standard deviation of a reward at the start, in logits
_START_RATE = 3.0


@pytree
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


def first_state(
    data: FitData, hyper: MetaHyper, learning_rate: float, *, key: jax.Array
) -> MetaState:
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
        optax.adam(learning_rate).init(moved),
        jnp.zeros((), jnp.int32),
        jax.random.key_data(of_supports),
        first_snapshots(meta, STEPS),
    )


def outer_step(
    state: MetaState, data: FitData, hyper: MetaHyper, learning_rate: float
) -> tuple[MetaState, Info]:
    """One step of the outer descent."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.count)
    support = draw_support(data, key)
    before: PyTree = state.meta
    loss, gradient = jax.value_and_grad(outer_loss)(before, data, hyper, support)
    loss, gradient = total((loss, gradient))
    updates, optimiser = optax.adam(learning_rate).update(gradient, state.optimiser)
    meta: PyTree = optax.apply_updates(before, updates)
    count = state.count + 1
    snapshots = with_snapshot(state.snapshots, meta, count, STEPS)
    after = MetaState(meta, optimiser, count, state.key, snapshots)
    return after, Info(loss, optax.tree.norm(gradient))
