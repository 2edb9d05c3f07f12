"""What a training step of a network sees: some users, some of each one's pairs, in two parts.

Pairs are row numbers; a step gathers rows of a table that has been through the network's first
layer, so nothing of the size of all pairs is formed.

Methods that learn from a user's pairs to predict the same user's other pairs (meta-learning) need
the pairs in two parts, context and targets. Test pairs share no response with a user's shots, so
the parts share none either: each response is drawn to one side, and pairs across are left out.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.parallel.buckets import FitData
from lore_jax.parallel.devices import total
from lore_jax.parallel.pytree import pytree


@pytree
class Pairs:
    """Pairs of one user, or of several with users in front.

    Attributes:
        chosen: rows of the preferred responses.
        rejected: rows of the other responses.
        weight: how much each pair counts; 0 for padding.
    """

    chosen: Int[Array | np.ndarray, "*users pairs"]
    rejected: Int[Array | np.ndarray, "*users pairs"]
    weight: Float[Array | np.ndarray, "*users pairs"]


class Drawn(NamedTuple):
    """The users of one step.

    Attributes:
        users: where they stand among the users of all buckets, one bucket after the other.
        pairs: the pairs drawn of each.
        weight: the weight of all of a user's pairs, drawn or not; 0 where nobody was left to draw.
    """

    users: Int[Array, " drawn"]
    pairs: Pairs
    weight: Float[Array, " drawn"]


def draw(data: FitData, users: int, pairs: int, *, key: jax.Array) -> Drawn:
    """Draws users who have pairs, and pairs of each, both evenly and without replacement.

    A user's draws go by the user's id: how users are laid out changes nothing.

    Args:
        data: one shard (`devices.over_shards`), which draws its share of the users.
        users: the most users, of all shards.
        pairs: the most pairs of each user.
        key: this shard's key of this step.

    Returns:
        The draw. Where fewer users or pairs count than are asked for, the rest has weight 0.

    Example:
        >>> data, _ = place(prefs, 1.0)  # doctest: +SKIP
        >>> over_shards(lambda _, data, key: draw(data, 64, 32, key=key))  # doctest: +SKIP
    """
    key_users, key_pairs = jax.random.split(key)
    shapes = [bucket.chosen.shape for bucket in data.buckets]
    # A bucket [slots, users] laid flat: slot s of user u stands at first + s * stride.
    starts = np.cumsum([0, *(slots * count for slots, count in shapes)])
    first = np.concatenate(
        [start + np.arange(count) for start, (_, count) in zip(starts, shapes, strict=False)]
    )
    stride, length = (
        np.concatenate([np.full(count, value) for value, count in columns])
        for columns in ([(count, count) for _, count in shapes], shapes)
    )

    def flat(name: str) -> Array:
        return jnp.concatenate([jnp.ravel(getattr(bucket, name)) for bucket in data.buckets])

    weight = flat("pair_weight")
    of_users = jnp.concatenate([jnp.sum(bucket.pair_weight, axis=0) for bucket in data.buckets])
    ids = jnp.concatenate([jnp.asarray(bucket) for bucket in data.users.buckets]) + 1
    wanted = min(-(-users // total(1)), len(first))
    chance = jax.vmap(lambda user: jax.random.uniform(jax.random.fold_in(key_users, user)))(ids)
    picked = _highest(chance, of_users > 0, wanted)
    slot = np.arange(int(max(length)))[None]
    at = jnp.asarray(first)[picked][:, None] + slot * jnp.asarray(stride)[picked][:, None]
    here = jnp.where(slot < jnp.asarray(length)[picked][:, None], at, -1)
    counted = jnp.where(here >= 0, weight[here], 0.0)
    chance = jax.vmap(
        lambda user: jax.random.uniform(jax.random.fold_in(key_pairs, user), (slot.size,))
    )(ids[picked])
    kept = _highest(chance, counted > 0, min(pairs, slot.size))
    here, counted = (jnp.take_along_axis(x, kept, axis=1) for x in (here, counted))
    taken = Pairs(flat("chosen")[here], flat("rejected")[here], counted)
    return Drawn(picked, taken, of_users[picked])


def _highest(chance: Array, possible: Array, count: int) -> Array:
    """Positions along the last axis, of those that are possible before any other."""
    return jax.lax.top_k(jnp.where(possible, chance, -1.0), count)[1]


def context_and_targets(pairs: Pairs, *, key: jax.Array) -> tuple[Pairs, Pairs]:
    """One user's pairs in two parts that share no response, of random sizes.

    A share s ~ U(0, 1) is drawn, then each response is drawn to the context with probability s. Of
    n pairs among responses of their own, n / 3 are context and n / 3 are targets on average.

    Args:
        pairs: of one user, `[pairs]`.
        key: the user's key.

    Returns:
        Context and targets: the same rows, with weight 0 for pairs that are not in the part.

    Example:
        >>> pairs = Pairs(jnp.array([0, 2]), jnp.array([1, 0]), jnp.ones(2))
        >>> context, targets = context_and_targets(pairs, key=jax.random.key(1))
        >>> float(jnp.max(context.weight * targets.weight))
        0.0
    """
    key_share, key_side = jax.random.split(key)
    share = jax.random.uniform(key_share)

    # By its row, so that a response is on one side in all of its pairs.
    def in_context(row: Array) -> Array:
        return jax.random.uniform(jax.random.fold_in(key_side, row)) < share

    chosen, rejected = (
        jax.vmap(in_context)(jnp.asarray(side)) for side in (pairs.chosen, pairs.rejected)
    )
    return (
        dataclasses.replace(pairs, weight=pairs.weight * (chosen & rejected)),
        dataclasses.replace(pairs, weight=pairs.weight * ~(chosen | rejected)),
    )
