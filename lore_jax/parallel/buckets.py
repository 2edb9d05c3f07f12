"""How users and their pairs are laid out for a joint fit: in buckets of like length, dealt evenly
to shards.

A joint fit touches every pair in every step, so its layout is made once, on the host. Users are
grouped by number of pairs (powers of two), each bucket padded only to its own longest user, and
dealt to the shards in the order of their length: every shard gets the same number of users of every
bucket, hence the same work and the same shapes. A user's weights live beside the user's pairs, so
no step moves anything between shards that grows with users or pairs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.data.preferences import Bucket, Preferences, group_by_user

_PADDING = 0.1  # of all slots: how much padding one bucket fewer is worth


@flax.struct.dataclass
class UserBucket:
    """Users of like length on the device; axes `[shards, shots, users]`, or `[shots, users]` inside
    one shard.

    Attributes:
        chosen: rows of the preferred responses, int32.
        rejected: rows of the other responses, int32.
        pair_weight: how much each pair counts, float32; 0 for padding.
    """

    chosen: Any
    rejected: Any
    pair_weight: Any


@flax.struct.dataclass
class FitData:
    """What a joint fit reads in every step; inside one shard the buckets have lost their first
    axis.

    Attributes:
        embeddings: the table, `[responses, dim]`, the same for every shard.
        input_scale: what the basis divides embeddings by.
        buckets: the pairs.
        totals: None, or, if these are one of several minibatches (`minibatches.py`), for each bucket the
            weight of all pairs of each user, in all minibatches, divided by the number of minibatches,
            `[shards, users]`.
    """

    embeddings: jax.Array
    input_scale: jax.Array
    buckets: tuple[UserBucket, ...]
    totals: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """Where each user lives.

    Attributes:
        num_users: the number of users, those without pairs included.
        ids: for each bucket the user ids, int32 `[shards, users]`; -1 for padding.
        first: position of each user's first pair in the preferences, int32 `[num_users]`.
        count: number of pairs of each user, int32 `[num_users]`.
    """

    num_users: int
    ids: tuple[np.ndarray, ...]
    first: np.ndarray
    count: np.ndarray

    def pairs(self, bucket: int) -> np.ndarray:
        """Where a bucket's pairs stand in the preferences, int32 `[shards, shots, users]`; -1 for
        padding.
        """
        ids = self.ids[bucket]
        count, first = np.where(ids >= 0, self.count[ids], 0), self.first[ids]
        ahead = np.arange(count.max(), dtype=np.int32)[:, None]
        return np.where(ahead < count[:, None], first[:, None] + ahead, np.int32(-1))

    def spread(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        """Per-user values `[num_users, ...]` to the buckets, `[shards, ..., users]`; zeros for
        padding.
        """
        padded = np.concatenate(
            [values, np.zeros((1, *values.shape[1:]), values.dtype)]
        )  # row -1 serves the padding
        return tuple(np.moveaxis(padded[ids], 1, -1) for ids in self.ids)

    def spread_pairs(self, values: np.ndarray) -> tuple[np.ndarray, ...]:
        """Per-pair values `[..., pairs]` to the buckets, `[shards, ..., shots, users]`; zeros for
        padding.
        """
        padded = np.concatenate([values, np.zeros((*values.shape[:-1], 1), values.dtype)], axis=-1)
        return tuple(np.moveaxis(padded[..., self.pairs(b)], -3, 0) for b in range(len(self.ids)))

    def collect(self, buckets: tuple[Any, ...], fill: np.ndarray) -> np.ndarray:
        """The inverse of `spread`: `[shards, ..., users]` to `[num_users, ...]`; `fill` for users
        without pairs.
        """
        out = np.tile(np.asarray(fill), (self.num_users, *[1] * np.ndim(fill)))
        for ids, values in zip(self.ids, buckets, strict=True):
            out[ids[ids >= 0]] = np.moveaxis(np.asarray(values), -1, 1)[ids >= 0]
        return out


def lay_out(prefs: Preferences, shards: int = 1) -> tuple[tuple[UserBucket, ...], Layout]:
    """Deals the users of `prefs` and their pairs to shards.

    Args:
        prefs: the pairs to fit.
        shards: how many parts, usually the number of devices.

    Returns:
        The buckets (NumPy arrays, shortest users first) and the layout that leads back to users.

    Example:
        >>> buckets, layout = lay_out(prefs, shards=8)
        >>> buckets[0].chosen.shape  # [shards, shots, users]
        (8, 40, 125)
    """
    layout, buckets = deal(prefs, shards), []
    for number in range(len(layout.ids)):
        pairs = layout.pairs(number)
        pair_weight = np.where(pairs >= 0, prefs.pair_weight[pairs], np.float32(0.0))
        pairs = np.maximum(pairs, 0)
        buckets.append(UserBucket(prefs.chosen[pairs], prefs.rejected[pairs], pair_weight))
    return tuple(buckets), layout


def deal(prefs: Preferences, shards: int = 1) -> Layout:
    """The layout of `lay_out` alone: who lives where, without anything of the size of the pairs.

    Args:
        prefs: the pairs to fit.
        shards: how many parts.

    Returns:
        The layout.

    Example:
        >>> deal(prefs, shards=8).ids[0].shape  # [shards, users]
        (8, 125)
    """
    count, ids = prefs.pairs_per_user().astype(np.int32), []
    for bucket in _merged(list(group_by_user(prefs))):
        by_length = np.argsort(-bucket.count, kind="stable")
        per_shard = _rounded(-(-len(by_length) // shards))
        dealt = np.full(per_shard * shards, -1, np.int32)
        dealt[: len(by_length)] = bucket.users[by_length]
        ids.append(dealt.reshape(per_shard, shards).T)
    return Layout(prefs.num_users, tuple(ids), (np.cumsum(count) - count).astype(np.int32), count)


def _rounded(count: int) -> int:
    """The next count with at most four binary digits: splits of one data set then share compiled
    programs.
    """
    step = 1 << max(0, count.bit_length() - 4)
    return -(-count // step) * step


def _merged(buckets: list[Bucket]) -> list[Bucket]:
    """Joins a bucket to the next longer one where that pads the whole by little: every bucket costs
    compile time.
    """
    out: list[Bucket] = []
    slots = sum(len(bucket.users) * int(bucket.count.max()) for bucket in buckets)
    for bucket in reversed(buckets):
        longest = int(out[-1].count.max()) if out else 0
        if out and len(bucket.users) * (longest - int(bucket.count.max())) <= _PADDING * slots:
            joined = zip(out[-1][1:], bucket[1:], strict=True)
            out[-1] = Bucket(out[-1].shots, *(np.concatenate(parts) for parts in joined))
        else:
            out.append(bucket)
    return out[::-1]


def features(table: jax.Array, bucket: UserBucket) -> jax.Array:
    """Differences of rewards of a bucket's pairs: table `[responses, rank]` -> `[rank, shots,
    users]`.
    """
    return jnp.moveaxis(table[bucket.chosen] - table[bucket.rejected], -1, 0)
