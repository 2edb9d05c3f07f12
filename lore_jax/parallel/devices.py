"""Devices: the only file that knows how many there are.

A joint fit is written for one shard: its own users with their pairs and weights, a copy of the
basis, and `total` to sum over shards what everybody shares (the gradient of the basis, counts). Two
mappings run that one function on all shards:

- "jit": a vmap over a leading shard axis named "data", which is split over the devices by
  `NamedSharding`; the compiler turns `total` into one all-reduce;
- "pmap": the same function mapped over a leading device axis by `jax.pmap`.

What crosses devices in a step is the gradient of what is shared: dim x rank numbers for the basis,
and responses x rank where responses have terms of their own, whatever the number of users and
pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from lore_jax.data.preferences import Preferences
from lore_jax.parallel.buckets import FitData, Layout, PerUser, lay_out

Mapping = Literal["jit", "pmap"]
Devices: TypeAlias = Sequence[Any]  # of jax.Device, a variable and so no type to a type checker

_AXIS = "data"
# `vmap` and `pmap` take a tree of axes in the shape of the data.
_DATA_AXES = FitData(None, None, 0, 0, 0)  # pyright: ignore[reportArgumentType]


def total(values: Any) -> Any:
    """The sum over shards of a pytree, for use inside a function mapped by `over_shards`."""
    return jax.lax.psum(values, _AXIS)


def largest(value: jax.Array) -> jax.Array:
    """The largest over shards, for use inside a function mapped by `over_shards`."""
    return jax.lax.pmax(value, _AXIS)


def over_shards(
    function: Callable[..., Any],
    mapping: Mapping = "jit",
    *,
    donate: bool = True,
    devices: Devices | None = None,
) -> Callable[..., Any]:
    """Maps `function(state, data, hyper)`, written for one shard, over all shards.

    Args:
        function: takes a state whose leaves belong to one shard, the shard's `FitData` and anything
            shared; what it returns belongs to the shard.
        mapping: "jit" (`vmap` + `NamedSharding`) or "pmap".
        donate: whether the state's memory is reused for the result.
        devices: where the shards are and the result shall be. A result left to the compiler may
            come back placed in other words, for which the next call would compile once more.

    Returns:
        The mapped and jitted function: every leaf of the state and of the result has a leading
            shard axis.

    Raises:
        ValueError: the mapping is neither of the two.

    Example:
        >>> step = over_shards(lambda state, data, hyper: state + total(state))
    """
    axes, donated = (0, _DATA_AXES, None), (0,) if donate else ()
    if mapping == "pmap":
        return jax.pmap(function, axis_name=_AXIS, in_axes=axes, donate_argnums=donated)
    if mapping != "jit":
        raise ValueError(f"mapping is {mapping!r}: 'jit' or 'pmap' is expected")
    placed = _sharding(devices, PartitionSpec(_AXIS)) if devices else None
    return jax.jit(
        jax.vmap(function, in_axes=axes, axis_name=_AXIS),
        donate_argnums=donated,
        out_shardings=placed,
    )


def place(
    prefs: Preferences, input_scale: float, devices: Devices | None = None
) -> tuple[FitData, Layout]:
    """Lays out preferences for a joint fit and puts them on devices, one shard each.

    Args:
        prefs: the pairs to fit.
        input_scale: what the basis divides embeddings by.
        devices: where to; None: the first local device alone.

    Returns:
        The data, pairs split over the devices and the table on each of them, and the layout that
        leads back to users.

    Example:
        >>> data, layout = place(prefs, 1.0, jax.devices())
    """
    devices = list(devices) if devices else jax.local_devices()[:1]
    buckets, layout = lay_out(prefs, len(devices))
    data = FitData(
        embeddings=replicate(prefs.embeddings, devices),
        input_scale=replicate(np.float32(input_scale), devices),
        buckets=jax.tree.map(lambda leaf: split(leaf, devices), buckets),
        users=PerUser(tuple(split(ids, devices) for ids in layout.ids)),
    )
    return data, layout


def split(array: Any, devices: Devices) -> jax.Array:
    """Puts an array `[shards, ...]` on devices, one shard each; each process sends its own."""
    return put(array, _sharding(devices, PartitionSpec(_AXIS)))


def replicate(array: Any, devices: Devices) -> jax.Array:
    """Puts a whole array on every device."""
    return put(array, _sharding(devices, PartitionSpec()))


def put(array: Any, sharding: Sharding) -> jax.Array:
    """`jax.device_put` for several processes, each with the whole array, reading its parts."""
    if sharding.is_fully_addressable or (
        isinstance(array, jax.Array) and not array.is_fully_addressable
    ):
        return jax.device_put(array, sharding)
    return jax.make_array_from_callback(
        np.shape(array), sharding, lambda index: np.asarray(array[index])
    )


def on_host(array: Any) -> np.ndarray:
    """A whole array, on every process."""
    if (
        isinstance(array, jax.Array)
        and not array.is_fully_addressable
        and not array.is_fully_replicated
    ):
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)


def first_shard(array: Any) -> np.ndarray:
    """The first shard at hand of an array `[shards, ...]` that is the same in all of them."""
    return np.asarray(array.addressable_shards[0].data if isinstance(array, jax.Array) else array)[
        0
    ]


def is_first_process() -> bool:
    """Whether this process is the one that writes files."""
    return jax.process_index() == 0


def any_process(*flags: bool) -> tuple[bool, ...]:
    """Which flags are set on any process. All must ask; none goes on before the others did."""
    if jax.process_count() == 1:
        return flags
    gathered: Any = multihost_utils.process_allgather(np.array(flags, bool))
    return tuple(
        bool(flag) for flag in gathered.reshape(jax.process_count(), len(flags)).any(axis=0)
    )


def shard_copies(tree: Any, devices: Devices) -> Any:
    """A copy of every leaf for each shard, `[shards, ...]`, each on its device."""

    def copy(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        return split(np.broadcast_to(leaf, (len(devices), *leaf.shape)), devices)

    return jax.tree.map(copy, tree)


def _sharding(devices: Devices, spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (_AXIS,)), spec)


def on_one_cpu(array: Any) -> bool:
    """Whether a jax array lies in this machine's memory, in one piece: NumPy can look at it."""
    return [device.platform for device in array.devices()] == ["cpu"]
