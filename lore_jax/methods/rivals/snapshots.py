"""Early stopping that costs one fit: what it was after some numbers of steps, as its variants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

Tree = TypeVar("Tree")


def first_snapshots(tree: Tree, stops: Sequence[int]) -> Tree:
    """Room for the tree at each stop, in a leading axis of every leaf."""
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(stops)), tree)


def with_snapshot(kept: Tree, now: Tree, count: Int[Array, ""], stops: Sequence[int]) -> Tree:
    """The snapshots with the tree in its place, if `count` steps are one of the stops.

    Args:
        kept: from `first_snapshots`.
        now: the tree.
        count: steps taken.
        stops: numbers of steps.

    Returns:
        The snapshots.

    Example:
        >>> kept = first_snapshots(jnp.zeros(()), (5, 10))
        >>> with_snapshot(kept, jnp.ones(()), jnp.asarray(10), (5, 10))
        Array([0., 1.], dtype=float32)
    """
    here = jnp.array(stops) == count

    def keep(then: Array, leaf: Array) -> Array:
        return jnp.where(here.reshape(-1, *[1] * leaf.ndim), leaf[None], then)

    return jax.tree.map(keep, kept, now)
