"""The compiled programs of a joint fit: its first state, steps, and what is learned from the last.

Fits that differ in traced numbers alone share them, and so do the fits of validation's folds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, PyTree

from lore_jax.methods.base import AnyMethod, Info
from lore_jax.parallel.buckets import FitData
from lore_jax.parallel.devices import Mapping, over_shards


@functools.cache
def first_state(method: AnyMethod, devices: tuple[Any, ...]) -> Callable[..., PyTree]:
    """`program((), data, (hyper, key data))`: the state before the first step."""

    def init(_: tuple[()], data: FitData, shared: tuple[PyTree, Array]) -> PyTree:
        return method.init(data, shared[0], key=jax.random.wrap_key_data(shared[1]))

    return over_shards(init, donate=False, devices=devices)


@functools.cache
def one_step(
    method: AnyMethod, mapping: Mapping, devices: tuple[Any, ...]
) -> Callable[..., tuple[PyTree, Info]]:
    """`program(state, data, hyper)`: the next state, whose memory is the last one's, and Info."""
    return over_shards(method.step, mapping, devices=devices)


@functools.cache
def many_steps(
    method: AnyMethod,
    count: int,
    mapping: Mapping,
    devices: tuple[Any, ...],
    *,
    donate: bool = True,
) -> Callable[..., tuple[PyTree, Info]]:
    """`program(state, data, hyper)`: the state `count` steps later, and Info of each step.

    Args:
        method: the method.
        count: how many steps.
        mapping: "jit" or "pmap".
        devices: where the shards are.
        donate: whether the memory of the first state is used for the last.
    """

    def run(state: PyTree, data: FitData, hyper: PyTree) -> tuple[PyTree, Info]:
        return jax.lax.scan(lambda state, _: method.step(state, data, hyper), state, length=count)

    return over_shards(run, mapping, donate=donate, devices=devices)


@functools.cache
def learned(method: AnyMethod, devices: tuple[Any, ...]) -> Callable[..., PyTree]:
    """`program(state, data, hyper)`: what the fit has learned."""
    return over_shards(method.finish, donate=False, devices=devices)
