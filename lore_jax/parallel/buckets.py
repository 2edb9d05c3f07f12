"""Users and their pairs laid out for a joint fit: in buckets of like length, dealt to shards.

A joint fit touches every pair in every step, so its layout is made once, on the host. Users are
grouped by number of pairs (powers of two), each bucket padded to its own longest user, and dealt to
the shards in the order of their length, which get like work and the same shapes. A user's weights
live beside the user's pairs: nothing that grows with either moves between shards.

Few pairs are one bucket, whose sides are rounded up: every bucket is compiled for, in seconds, and
data sets of like size then share programs. Padding has weight 0 and belongs to nobody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Int32, Shaped

from lore_jax.data.preferences import Bucket, Preferences, group_by_user, join_buckets
from lore_jax.parallel.distinct_pairs import DistinctPairs
from lore_jax.parallel.principal_axes import PrincipalAxes
from lore_jax.parallel.pytree import pytree
from lore_jax.parallel.rounding import rounded
from lore_jax.parallel.table_rows import StreamedTable, Table

# From how many on the users of a bucket are worked on in parts. What is held of 2^13 pairs stays in
# a core's cache; an accelerator is not filled by so few.
_PAIRS_AT_A_TIME = 2**15
_PAIRS_OF_A_CORE = 2**13
_PADDING = 0.1  # of all slots: how much padding one bucket fewer is worth
_FEW_SLOTS = 2**14  # a step passes over them in milliseconds
# Binary digits of a bucket's sides, of few slots and of many. The longest user's pairs vary most
# between data sets of like size.
_DIGITS_OF_SHOTS = 2, 5
_DIGITS_OF_USERS = 3, 4


@pytree
class UserBucket:
    """Users of like length; axes `[shards, shots, users]`, or inside one shard `[shots, users]`.

    Attributes:
        chosen: rows of the preferred responses (on the host the fields are NumPy arrays).
        rejected: rows of the other responses.
        pair_weight: how much each pair counts; 0 for padding.
    """

    chosen: Int[Array | np.ndarray, "*shards shots users"]
    rejected: Int[Array | np.ndarray, "*shards shots users"]
    pair_weight: Float[Array | np.ndarray, "*shards shots users"]


@pytree
class PerUser:
    """Values that belong to users, wherever they stand in a state: they live with their users.

    Attributes:
        buckets: for each bucket `[shards, ..., users]`, or `[..., users]` inside one shard.
    """

    buckets: tuple[Shaped[Array | np.ndarray, "... _users"], ...]


@pytree
class FoldRows:
    """The rows of a table that matter to a fold of validation; some stand there twice, to fill up.

    Attributes:
        judged: those in its pairs of positive weight.
        asked: those in the pairs that it predicts.
    """

    judged: Int[Array | np.ndarray, " judged"]
    asked: Int[Array | np.ndarray, " asked"]


@pytree
class FitData:
    """What a joint fit reads in a step; inside one shard the buckets have lost their first axis.

    Attributes:
        embeddings: the table, the same for every shard: `[responses, dim]`.
        input_scale: what the basis divides embeddings by.
        buckets: the pairs.
        users: who the users of each bucket are; -1 for padding.
        totals: for a mini-batch, the weight of all pairs of each user, divided by the number of
            mini-batches; else None.
        outside: of a table in few coordinates, `|e|^2` of what they leave out of each response,
            before the division by `input_scale`; else None.
        distinct: where many pairs are equal, each of them once; else None.
        principal: principal axes of a table in few coordinates; else None.
        rows: in validation, the rows that matter; else None: all do.
    """

    embeddings: Table
    input_scale: Float[Array, ""]
    buckets: tuple[UserBucket, ...]
    users: PerUser
    totals: PerUser | None = None
    outside: Float[Array, "responses"] | None = None
    distinct: DistinctPairs | None = None
    principal: PrincipalAxes | None = None
    rows: FoldRows | None = None

    @property
    def table(self) -> Float[Array, "responses dim"]:
        """`embeddings` where a method does not stream them, and so was given an array."""
        assert not isinstance(self.embeddings, StreamedTable)
        return self.embeddings

    @property
    def pairs_of_everybody(self) -> tuple[UserBucket, ...]:
        """Inside one shard, the pairs whoever made them; equal ones may be one."""
        if self.distinct is None:
            return self.buckets
        weight = self.distinct.summed([jnp.asarray(b.pair_weight) for b in self.buckets])
        return (UserBucket(self.distinct.chosen, self.distinct.rejected, weight),)


@dataclasses.dataclass(frozen=True, eq=False)
class UserLayout:
    """Where each user lives.

    Attributes:
        num_users: the number of users, those of whom nothing is known included.
        ids: for each bucket the user ids, int32 `[shards, users]`; -1 for padding.
    """

    num_users: int
    ids: tuple[np.ndarray, ...]

    def spread(self, values: Shaped[np.ndarray, "num_users ..."]) -> PerUser:
        """Values of users to the buckets, `[shards, ..., users]`; padding (row -1) gets 0."""
        padded = np.concatenate([values, np.zeros((1, *values.shape[1:]), values.dtype)])
        buckets = tuple(np.moveaxis(padded[ids], 1, -1) for ids in self.ids)
        return PerUser(buckets)  # pyright: ignore[reportArgumentType]

    def collect(self, values: PerUser, fill: ArrayLike) -> Shaped[np.ndarray, "num_users ..."]:
        """The inverse of `spread`; `fill` for users in no bucket."""
        out = np.tile(np.asarray(fill), (self.num_users, *[1] * np.ndim(fill)))
        for ids, bucket in zip(self.ids, values.buckets, strict=True):
            out[ids[ids >= 0]] = np.moveaxis(np.asarray(bucket), -1, 1)[ids >= 0]
        return out


@dataclasses.dataclass(frozen=True, eq=False)
class Layout(UserLayout):
    """Where each user lives, and each of the user's pairs.

    Attributes:
        shots: how many slots each bucket's users have.
        first: position of each user's first pair in the preferences, int32 `[num_users]`.
        count: number of pairs of each user, int32 `[num_users]`.
    """

    shots: tuple[int, ...]
    first: np.ndarray
    count: np.ndarray

    def pairs(self, bucket: int) -> Int32[np.ndarray, "shards shots users"]:
        """Where a bucket's pairs stand in the preferences; -1 for padding."""
        ids = self.ids[bucket]
        count, first = np.where(ids >= 0, self.count[ids], 0), self.first[ids]
        ahead = np.arange(self.shots[bucket], dtype=np.int32)[:, None]
        return np.where(ahead < count[:, None], first[:, None] + ahead, np.int32(-1))

    def spread_pairs(self, values: Shaped[np.ndarray, "... pairs"]) -> tuple[np.ndarray, ...]:
        """Values of pairs to the buckets, `[shards, ..., shots, users]`; padding gets 0."""
        padded = np.concatenate([values, np.zeros((*values.shape[:-1], 1), values.dtype)], axis=-1)
        pairs = map(self.pairs, range(len(self.ids)))
        return tuple(np.moveaxis(padded[..., index], -3, 0) for index in pairs)


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
        (8, 24, 5)
    """
    layout, buckets = deal(prefs, shards), []
    for pairs in map(layout.pairs, range(len(layout.ids))):
        pair_weight = np.where(pairs >= 0, prefs.pair_weight[pairs], np.float32(0.0))
        rows = prefs.chosen[np.maximum(pairs, 0)], prefs.rejected[np.maximum(pairs, 0)]
        buckets.append(UserBucket(*rows, pair_weight))  # pyright: ignore[reportArgumentType]
    return tuple(buckets), layout


def deal(prefs: Preferences, shards: int = 1) -> Layout:
    """The layout of `lay_out` alone, without anything of the size of the pairs.

    Example:
        >>> deal(prefs, shards=8).ids[0].shape  # [shards, users]
        (8, 5)
    """
    count, ids, shots = prefs.pairs_per_user().astype(np.int32), [], []
    for bucket in _merged(list(group_by_user(prefs))):
        per_shard, longest = -(-len(bucket.users) // shards), int(bucket.count.max())
        many = per_shard * longest > _FEW_SLOTS
        per_shard = rounded(per_shard, _DIGITS_OF_USERS[many])
        ids.append(deal_users(bucket.users, bucket.count, shards, per_shard))
        shots.append(rounded(longest, _DIGITS_OF_SHOTS[many]))
    first = (np.cumsum(count) - count).astype(np.int32)
    return Layout(prefs.num_users, tuple(ids), tuple(shots), first, count)


def deal_users(
    users: Int[np.ndarray, "n"], count: Int[np.ndarray, "n"], shards: int, per_shard: int
) -> Int32[np.ndarray, "shards per_shard"]:
    """Users in the order of their length, dealt to shards one by one; -1 behind them.

    Example:
        >>> deal_users(np.array([4, 7, 9]), np.array([1, 3, 2]), 2, 2).tolist()
        [[7, 4], [9, -1]]
    """
    dealt = np.full(per_shard * shards, -1, np.int32)
    dealt[: len(users)] = users[np.argsort(-count, kind="stable")]
    return dealt.reshape(per_shard, shards).T


def _merged(buckets: list[Bucket]) -> list[Bucket]:
    """Joins a bucket to the next longer one where that pads little, or leaves few slots."""
    slots = sum(len(bucket.users) * int(bucket.count.max()) for bucket in buckets)

    def pads_little(longer: Bucket, bucket: Bucket) -> bool:
        longest = int(longer.count.max())
        padding = len(bucket.users) * (longest - int(bucket.count.max()))
        together = (len(longer.users) + len(bucket.users)) * longest
        return padding <= _PADDING * slots or together <= _FEW_SLOTS

    return join_buckets(buckets, pads_little)


def over_rows(data: FitData, rows: Int[Array | np.ndarray, " n"]) -> FitData:
    """The same pairs over some rows of the table, numbered anew, for use inside a program.

    Args:
        data: one shard, its table an array.
        rows: which are left; one may stand there more than once.

    Returns:
        The data over `table[rows]`; a response that is not among them has become any of them.

    Example:
        >>> bucket = UserBucket(jnp.array([[7]]), jnp.array([[5]]), jnp.ones((1, 1)))
        >>> data = FitData(jnp.eye(9), jnp.ones(()), (bucket,), PerUser((jnp.zeros(1),)))
        >>> over_rows(data, jnp.array([5, 7])).buckets[0].chosen
        Array([[1]], dtype=int32)
    """
    number = jnp.zeros(len(data.table), jnp.int32).at[rows].set(jnp.arange(len(rows)))
    return dataclasses.replace(
        data,
        embeddings=data.table[rows],
        buckets=tuple(
            UserBucket(number[bucket.chosen], number[bucket.rejected], bucket.pair_weight)
            for bucket in data.buckets
        ),
        outside=None if data.outside is None else data.outside[rows],
        distinct=None,
        principal=None,
        rows=None,
    )


def features(table: jax.Array, bucket: UserBucket) -> jax.Array:
    """Differences of rewards of a bucket's pairs."""
    return jnp.moveaxis(table[bucket.chosen] - table[bucket.rejected], -1, 0)


def over_users(
    work: Callable[..., tuple[Any, Any]],
    carry: Any,
    bucket: UserBucket,
    *per_user: Any,
    most: int | None = None,
) -> tuple[Any, Any]:
    """Works through a shard's bucket some users at a time: what a pair needs is held for those.

    A bucket of few pairs is worked on at once, and nothing is added to the program.

    Args:
        work: `work(carry, bucket, *per_user)` of some users: the next carry, and their results.
        carry: where it begins.
        bucket: `[shots, users]`.
        per_user: pytrees of what belongs to its users, `[..., users]`.
        most: how many pairs are worked on at a time, or those of one user; None: 8,192 on
            a CPU, 32,768 elsewhere.

    Returns:
        The last carry, and the results of all users, `[..., users]`.

    Example:
        >>> bucket = UserBucket(jnp.ones((2, 3)), jnp.zeros((2, 3)), jnp.ones((2, 3)))
        >>> over_users(lambda n, part: (n + part.chosen.shape[1], part.chosen.sum(0)), 0, bucket)
        (3, Array([2., 2., 2.], dtype=float32))
    """
    shots, users = bucket.chosen.shape
    on_cpu = jax.default_backend() == "cpu"
    wanted = -(-shots * users // (most or (_PAIRS_OF_A_CORE if on_cpu else _PAIRS_AT_A_TIME)))
    parts = next((n for n in range(wanted, users) if users % n == 0), users)
    if wanted <= 1 or parts <= 1:
        return work(carry, bucket, *per_user)
    size = users // parts

    def part(carry: Any, start: Array) -> tuple[Any, Any]:
        def cut(leaf: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), start, size, axis=-1)

        return work(carry, *jax.tree.map(cut, (bucket, *per_user)))

    carry, results = jax.lax.scan(part, carry, jnp.arange(0, users, size))
    return carry, jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf, 0, -2).reshape(*leaf.shape[1:-1], users), results
    )


def add_to_rows(
    rows: Float[Array, "responses *columns"], bucket: UserBucket, values: Float[Array, "..."]
) -> Float[Array, "responses *columns"]:
    """The transpose of differences of rewards: values of pairs to both their responses.

    Args:
        rows: what they are added to.
        bucket: whose pairs.
        values: `[shots, users, *columns]`.

    Returns:
        Values added to the rows of the chosen, taken from those of the rejected.

    Example:
        >>> bucket = UserBucket(jnp.array([[0]]), jnp.array([[2]]), jnp.ones((1, 1)))
        >>> add_to_rows(jnp.zeros(3), bucket, jnp.ones((1, 1)))
        Array([ 1.,  0., -1.], dtype=float32)
    """
    return rows.at[bucket.chosen].add(values).at[bucket.rejected].add(-values)
