"""What each item adds to a mean over users, and each user's answer to it: small sums in a row.

The statistic is the macro mean over U users of per-user means. Pair i, with value v_i, one of the
n_u pairs of user u, adds `c_i = (v_i - mean) / (U n_u)` to it. The influence of an item is the sum
over the pairs that touch it,

    I_g = sum_{i touches g} c_i,

that of a cell, one user and one item, the sum over the user's pairs that touch it, and that of a
user the sum over the user's pairs, `I_u = (mean_u - mean) / U`. All are linear in v: the influences
of a paired difference are differences of influences, and those of an average over splits are
averages. A variance needs no more than sums of their squares (`intervals`).

So influences are kept as count sketches: each item (cell) is added to one of a fixed number of
buckets under a sign of its own, and the sum of squares over buckets has the sum of squares over
items (cells) as its mean over signs. Buckets are found from ids alone, so that splits add up. The
first 1,024 items of a data set have a bucket each; the cells' sum of squares, in 128 buckets, has
an error of some 12 %, less than what a few dozen items tell about the variance over items.

Reference:
    Charikar, Chen, Farach-Colton 2002, "Finding frequent items in data streams".
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt64

from lore_jax.data.feedback import Feedback
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy
from lore_jax.evaluation.metrics import per_user_mean

ITEM_BUCKETS, CELL_BUCKETS = 1024, 128


class Buckets(NamedTuple):
    """Where the pairs of a test are added to: in which bucket, and with which sign.

    Attributes:
        index: position in `bucket` of each pair's item, or of its two responses.
        sign: 1 or -1.
        bucket: numbers of the buckets that are in use, ascending.
    """

    index: Int[np.ndarray, "pairs sides"]
    sign: Float[np.ndarray, "pairs sides"]
    bucket: Int[np.ndarray, " buckets"]

    def add(self, influence: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " buckets"]:
        """The signed sum of each bucket."""
        signed = influence[:, None] * self.sign
        sums = np.bincount(self.index.ravel(), signed.ravel(), minlength=len(self.bucket))
        return sums.astype(np.float64)  # NumPy counts nothing in integers


def pair_influences(
    values: Float[np.ndarray, " pairs"], user: Int[np.ndarray, " pairs"], num_users: int
) -> Float[np.ndarray, " pairs"]:
    """`(v_i - mean) / (U n_u)`, `mean` the mean over the U users with pairs of their means.

    Args:
        values: v, one a pair.
        user: whose pair it is.
        num_users: the number of users, those without pairs included.

    Returns:
        float64 `[pairs]`; they sum to 0.

    Example:
        >>> pair_influences(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 1]), 2)
        array([ 0.0625, -0.1875,  0.125 ])
    """
    if not len(values):
        return np.zeros(0)
    count = np.bincount(user, minlength=num_users)
    mean = np.nanmean(per_user_mean(values, user, num_users))
    return (values - mean) / (count[user] * (count > 0).sum())


def buckets_of(test: Preferences, group_by: GroupBy, *, split: int = 0) -> tuple[Buckets, Buckets]:
    """The buckets of a test's items and cells.

    Args:
        test: the pairs to predict.
        group_by: "prompt": a pair is about its prompt; "response": about its two responses.
        split: number of the split: users without names are told apart by it and their number.

    Returns:
        Buckets of the items, and of the cells.
    """
    items = test.prompt[:, None]
    if group_by == "response":
        items = np.stack([test.chosen, test.rejected], axis=1)
    items = items.astype(np.uint64)
    keys = _user_keys(test, split)[test.user][:, None] if test.num_pairs else items
    cells = _mix(keys ^ _mix(items))
    return _buckets(items, ITEM_BUCKETS), _buckets(cells, CELL_BUCKETS)


def buckets_of_answers(
    test: Feedback, group_by: GroupBy, *, split: int = 0
) -> tuple[Buckets, Buckets]:
    """The same of answers of every kind, numbered through their blocks.

    Example:
        >>> items, cells = buckets_of_answers(feedback, "response")
        >>> len(items.index) == feedback.num_answers
        True
    """
    sides = max((block.kind.num_items for block in test.blocks), default=1)
    sides = sides if group_by == "response" else 1
    keys, there, user = [], [], [np.zeros(0, np.int32)]
    for block in test.blocks:
        own = block.items if group_by == "response" else block.prompt[:, None]
        lacking = ((0, 0), (0, sides - own.shape[1]))
        keys.append(np.pad(own.astype(np.uint64), lacking, mode="edge"))
        there.append(np.pad(np.ones(own.shape), lacking))
        user.append(block.user)
    items = np.concatenate([np.zeros((0, sides), np.uint64), *keys])
    sign = np.concatenate([np.zeros((0, sides)), *there])
    own = _user_keys(test, split)[np.concatenate(user)][:, None] if len(items) else items
    cells = _mix(own ^ _mix(items))
    both = _buckets(items, ITEM_BUCKETS), _buckets(cells, CELL_BUCKETS)
    of_items, of_cells = (found._replace(sign=found.sign * sign) for found in both)
    return of_items, of_cells


def _buckets(keys: UInt64[np.ndarray, "pairs sides"], count: int) -> Buckets:
    bucket, index = np.unique(keys % np.uint64(count), return_inverse=True)
    sign = 1.0 - 2.0 * (_mix(keys) >> np.uint64(63)).astype(np.float64)
    return Buckets(index.reshape(keys.shape), sign, bucket.astype(np.int64))


def _user_keys(test: Preferences | Feedback, split: int) -> UInt64[np.ndarray, " users"]:
    """A 64-bit key of each user, the same in every split where users have names."""
    if test.user_ids is None:
        names = [f"{split}/{user}" for user in range(test.num_users)]
    else:
        names = [str(name) for name in test.user_ids]
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), np.uint64)


def _mix(keys: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """Bits that look random, of each key (splitmix64; products modulo 2^64)."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
