"""The state of a joint fit without the devices: what a checkpoint keeps, so that a run resumes on
any number of them.

On devices every leaf has a leading shard axis. What all shards share (the basis, its optimiser)
stands there once a shard; what belongs to users lies in the buckets of a layout that depends on the
number of shards. Here the former is kept once and the latter by user.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from lore_jax.parallel.buckets import Layout
from lore_jax.parallel.devices import first_shard, on_host, put


def without_devices(state: Any, layout: Layout) -> Any:
    """The state on the host: shared leaves once, users' leaves `[num_users, ...]` in the order of
    users.

    Args:
        state: a state of a joint fit, every leaf with its leading shard axis.
        layout: the layout of that fit.

    Returns:
        A pytree with an array in the place of every tuple of buckets.

    Example:
        >>> without_devices(state, layout).deviations.shape
        (1000, 7)
    """

    def host(node: Any) -> np.ndarray:
        if not _is_buckets(node, layout):
            return first_shard(node)
        zero = np.zeros(node[0].shape[1:-1], node[0].dtype)
        return layout.collect(tuple(on_host(leaf) for leaf in node), zero)

    return jax.tree.map(host, state, is_leaf=lambda node: _is_buckets(node, layout))


def onto_devices(kept: Any, like: Any, layout: Layout) -> Any:
    """The inverse of `without_devices`, for a fit on other devices too.

    Args:
        kept: what `without_devices` returned.
        like: a state of the fit to go on with, which says where every leaf lives.
        layout: the layout of that fit.

    Returns:
        The state.
    """

    def place(node: Any, value: np.ndarray) -> Any:
        if _is_buckets(node, layout):
            return tuple(
                put(new, old.sharding) for old, new in zip(node, layout.spread(value), strict=True)
            )
        return put(np.broadcast_to(value, node.shape), node.sharding)

    return jax.tree.map(place, like, kept, is_leaf=lambda node: _is_buckets(node, layout))


def _is_buckets(node: Any, layout: Layout) -> bool:
    """Whether a node holds the users' values: a tuple with an array `[shards, ..., users]` for each
    bucket.
    """
    if type(node) is not tuple or len(node) != len(layout.ids):
        return False
    return all(
        isinstance(leaf, jax.Array)
        and leaf.ndim >= 2
        and (leaf.shape[0], leaf.shape[-1]) == ids.shape
        for leaf, ids in zip(node, layout.ids, strict=True)
    )
