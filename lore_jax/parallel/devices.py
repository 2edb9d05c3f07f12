"""Devices: the only file that knows how many there are.

A joint fit is written for one shard: its own users with their pairs and weights, a copy of the
basis, and `total` to sum over shards what everybody shares (the gradient of the basis, counts). Two
mappings run that one function on all shards:

- "jit": a `shard_map` over a mesh whose axis is named "data": arrays with a leading shard axis are
  split over the devices by `NamedSharding`, and `total` is one all-reduce. (A vmap over that axis
  says the same, and takes two to three times as long to trace.)
- "pmap": the same function mapped over a leading device axis by `jax.pmap`.

What crosses devices in a step is the gradient of what is shared: dim x rank numbers for the basis,
and responses x rank for item effects, whatever the number of users and pairs.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import Shaped

from lore_jax.data.preferences import Preferences
from lore_jax.parallel.buckets import FitData, Layout, PerUser, UserBucket, UserLayout, lay_out
from lore_jax.parallel.distinct_pairs import distinct_pairs
from lore_jax.parallel.rounding import rounded_rows
from lore_jax.parallel.table_rows import StreamedTable, as_table

Mapping = Literal["jit", "pmap"]
_MOST_COPIED = 2**24  # bytes of a table that is filled up with rows of zeros
Devices: TypeAlias = Sequence[Any]  # of jax.Device, a variable and so no type to a type checker

_AXIS = "data"
# Which fields of the data have a shard axis, 0: a tree in the shape of the data, as `pmap` takes.
_DATA_AXES = FitData(None, None, 0, 0, 0, None, 0, None)  # pyright: ignore[reportArgumentType]


def total(values: Any) -> Any:
    """The sum over shards of a pytree, for use inside a function mapped by `over_shards`."""
    return values if _alone() else jax.lax.psum(values, _AXIS)


def largest(value: jax.Array) -> jax.Array:
    """The largest over shards, for use inside a function mapped by `over_shards`."""
    return value if _alone() else jax.lax.pmax(value, _AXIS)


def _alone() -> bool:
    """Whether there is one shard: XLA would copy what a device sends to itself."""
    return jax.lax.axis_size(_AXIS) == 1


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
        mapping: "jit" (`shard_map` + `NamedSharding`) or "pmap".
        donate: whether the state's memory is reused for the result.
        devices: where the shards are; None: the first local device alone.

    Returns:
        The mapped, jitted function: leaves of state and result have a leading shard axis.

    Raises:
        ValueError: the mapping is neither of the two.

    Example:
        >>> step = over_shards(lambda state, data, hyper: state + total(state))
    """
    donated = (0,) if donate else ()
    if mapping == "pmap":
        axes = 0, _DATA_AXES, None
        return jax.pmap(function, axis_name=_AXIS, in_axes=axes, donate_argnums=donated)
    if mapping != "jit":
        raise ValueError(f"mapping is {mapping!r}: 'jit' or 'pmap' is expected")

    def shard(state: Any, data: FitData, hyper: Any) -> Any:
        return _with_shard_axis(function(_own(state, 0), _own(data, _DATA_AXES), hyper))

    devices = devices or jax.local_devices()[:1]
    mapped = jax.shard_map(
        shard,
        mesh=_mesh(devices),
        in_specs=(_specs(0), _specs(_DATA_AXES), _specs(None)),
        out_specs=_specs(0),
        check_vma=False,
    )
    # The compiler might write the same sharding in another way, for which the next call would be
    # compiled once more.
    sharding = _sharding(devices, PartitionSpec(_AXIS))
    return jax.jit(mapped, donate_argnums=donated, out_shardings=sharding)


def _specs(axes: Any) -> Any:
    """How arrays are split that have a shard axis, 0, or none, None."""
    return jax.tree.map(
        lambda axis: PartitionSpec() if axis is None else PartitionSpec(_AXIS), axes, is_leaf=_none
    )


def _own(parts: Any, axes: Any) -> Any:
    """What a device has of arrays, without the shard axis."""

    def own(axis: int | None, part: Any) -> Any:
        return part if axis is None else jax.tree.map(lambda leaf: leaf[0], part)

    return jax.tree.map(own, axes, parts, is_leaf=_none)


def _with_shard_axis(parts: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], parts)


def _none(part: Any) -> bool:
    return part is None


def place(
    prefs: Preferences,
    input_scale: float,
    devices: Devices | None = None,
    *,
    streamed: bool = False,
) -> tuple[FitData, Layout]:
    """Lays out preferences for a joint fit and puts them on devices, one shard each.

    Args:
        prefs: the pairs to fit.
        input_scale: what the basis divides embeddings by.
        devices: where to; None: the first local device alone.
        streamed: whether the table may be a `StreamedTable`: where memory has no room for it, or a
            CPU would convert it.

    Returns:
        The data (pairs split over the devices, a table on each), and the layout of the users.

    Raises:
        ValueError: the table is on disk, and may not be streamed.

    Example:
        >>> data, layout = place(prefs, 1.0, jax.devices())
    """
    devices = list(devices) if devices else jax.local_devices()[:1]
    buckets, layout = lay_out(prefs, len(devices))
    distinct = distinct_pairs([(np.asarray(b.chosen), np.asarray(b.rejected)) for b in buckets])
    leaves, tree = jax.tree.flatten((buckets, distinct))
    del buckets, distinct  # one array is held twice at a time, not all
    for number, leaf in enumerate(leaves):
        leaves[number] = split(leaf, devices)
    buckets, distinct = jax.tree.unflatten(tree, leaves)
    data = FitData(
        embeddings=_place_table(prefs.embeddings, devices, streamed),
        input_scale=replicate(np.float32(input_scale), devices),
        buckets=buckets,
        users=PerUser(tuple(split(ids, devices) for ids in layout.ids)),
        distinct=distinct,
    )
    return data, layout


def with_buckets(
    data: FitData, buckets: tuple[UserBucket, ...], layout: UserLayout, devices: Devices
) -> FitData:
    """Other buckets beside the same table, one shard a device.

    Args:
        data: whose table.
        buckets: on the host, with as many shards as there are devices.
        layout: of their users.
        devices: where the table is.

    Returns:
        The data.

    Example:
        >>> devices = jax.devices()[:1]
        >>> data, layout = place(prefs, 1.0, devices)
        >>> with_buckets(data, lay_out(prefs)[0], layout, devices).buckets[0].chosen.shape[0]
        1
    """
    return dataclasses.replace(
        data,
        buckets=jax.tree.map(lambda leaf: split(leaf, devices), buckets),
        users=PerUser(tuple(split(ids, devices) for ids in layout.ids)),
        distinct=None,
    )


def _place_table(embeddings: Any, devices: Devices, streamed: bool) -> Any:
    table = as_table(embeddings)
    if streamed and isinstance(table, np.ndarray) and not has_room(devices, table.nbytes):
        table = StreamedTable(table)
    if streamed and isinstance(table, StreamedTable):
        return table
    if not isinstance(embeddings, np.ndarray | jax.Array):
        size = f"{embeddings.nbytes / 1e9:.1f} GB"
        raise ValueError(
            f"the table of {size} is larger than the memory that is free: the gaussian, simplex "
            "and bradley-terry methods, their settings given, are fitted from disk, others are not"
        )
    return replicate(embeddings, devices)


def has_room(devices: Devices, size: int) -> bool:
    """Whether `size` bytes take at most half of what a device has left; a CPU takes all."""
    here = next(device for device in devices if device.process_index == jax.process_index())
    stats = here.memory_stats() or {}
    room = (stats.get("bytes_limit", np.inf) - stats.get("bytes_in_use", 0)) / 2
    (too_large,) = any_process(size > room)
    return not too_large


def filled_up(table: Any, to: Callable[[int], int] | None = None) -> Any:
    """A small array with rows of zeros behind it up to a round number; a large one as it is.

    `to` says which number; None: `rounded_rows`. One that is not on the host stays as it is too:
    programs are shared where nothing has to be moved for it.

    Example:
        >>> filled_up(np.ones((300, 2))).shape
        (320, 2)
    """
    here = isinstance(table, np.ndarray) or (isinstance(table, jax.Array) and on_one_cpu(table))
    if not here or table.nbytes > _MOST_COPIED:
        return table
    if not (spare := (to or rounded_rows)(len(table)) - len(table)):
        return table
    return np.pad(np.asarray(table), [(0, spare), *[(0, 0)] * (np.ndim(table) - 1)])


def split(array: Any, devices: Devices) -> jax.Array:
    """Puts an array `[shards, ...]` on devices, one shard each; each process sends its own."""
    return put(array, _sharding(devices, PartitionSpec(_AXIS)))


def replicate(array: Any, devices: Devices) -> jax.Array:
    """Puts a whole array on every device."""
    return put(array, _sharding(devices, PartitionSpec()))


def put(array: Any, sharding: Sharding) -> jax.Array:
    """`jax.device_put` for several processes, each with the whole array, reading its parts."""
    if sharding.is_fully_addressable or not getattr(array, "is_fully_addressable", True):
        return jax.device_put(array, sharding)
    shape = np.shape(array)
    return jax.make_array_from_callback(shape, sharding, lambda index: np.asarray(array[index]))


def on_host(array: Any) -> np.ndarray:
    """A whole array, on every process."""
    if not getattr(array, "is_fully_addressable", True) and not array.is_fully_replicated:
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)


def first_shard(array: Any) -> np.ndarray:
    """The first shard at hand of an array `[shards, ...]` that is the same in all of them."""
    shard = array.addressable_shards[0].data if isinstance(array, jax.Array) else array
    return np.asarray(shard)[0]


def is_first_process() -> bool:
    """Whether this process is the one that writes files."""
    return jax.process_index() == 0


def any_process(*flags: bool) -> tuple[bool, ...]:
    """Which flags are set on any process. All must ask; none goes on before the others did."""
    if jax.process_count() == 1:
        return flags
    gathered = np.asarray(multihost_utils.process_allgather(np.array(flags, bool)))
    return tuple(bool(column.any()) for column in gathered.reshape(-1, len(flags)).T)


def _sharding(devices: Devices, spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(_mesh(devices), spec)


def _mesh(devices: Devices) -> Mesh:
    return Mesh(np.array(devices), (_AXIS,))


def num_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_one_cpu(array: Any) -> bool:
    """Whether a jax array lies in this machine's memory, in one piece: NumPy can look at it."""
    return [device.platform for device in array.devices()] == ["cpu"]


def view_on_host(array: jax.Array) -> Shaped[np.ndarray, "..."]:
    """The numbers on the host, of float32 and the like (NumPy takes no bfloat16 so).

    On a CPU not by `np.asarray`: the array would keep that view, and its buffer could never be
    donated.

    Example:
        >>> view_on_host(jax.numpy.ones(2)).tolist()
        [1.0, 1.0]
    """
    array.block_until_ready()
    if not on_one_cpu(array):
        return np.asarray(array)
    return np.from_dlpack(array)  # pyright: ignore[reportArgumentType]
