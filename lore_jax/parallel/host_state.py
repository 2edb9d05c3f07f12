"""The state of a joint fit without the devices: what a checkpoint keeps.

On devices every leaf has a leading shard axis: a copy for each shard of what all share (the basis,
its optimiser), and what belongs to users (`PerUser`) in the buckets of a layout that depends on the
number of shards. Here the former is kept once and the latter in the order of users.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import numpy as np

from lore_jax.parallel.buckets import PerUser, UserLayout
from lore_jax.parallel.devices import first_shard, on_host, put

State = TypeVar("State")


def without_devices(state: State, layout: UserLayout) -> State:
    """The state on the host: shared leaves once, users' leaves `[num_users, ...]` in their order.

    Args:
        state: a state of a joint fit, every leaf with its leading shard axis.
        layout: the layout of that fit.

    Returns:
        A pytree with an array in the place of every `PerUser`.
    """

    def host(node: PerUser | jax.Array) -> np.ndarray:
        if not isinstance(node, PerUser):
            return first_shard(node)
        values = jax.tree.map(on_host, node)
        first = values.buckets[0]
        return layout.collect(values, np.zeros(first.shape[1:-1], first.dtype))

    return jax.tree.map(host, state, is_leaf=_is_per_user)


def onto_devices(kept: State, like: State, layout: UserLayout) -> State:
    """The state with its devices: the inverse of `without_devices`, for a fit on others too.

    Args:
        kept: what `without_devices` returned.
        like: a state of the fit to go on with, which says where every leaf lives.
        layout: the layout of that fit.
    """

    def put_back(node: PerUser | jax.Array, value: np.ndarray) -> PerUser | jax.Array:
        if not isinstance(node, PerUser):
            return put(np.broadcast_to(value, node.shape), node.sharding)
        return jax.tree.map(lambda old, new: put(new, old.sharding), node, layout.spread(value))

    return jax.tree.map(put_back, like, kept, is_leaf=_is_per_user)


def _is_per_user(node: object) -> bool:
    return isinstance(node, PerUser)
