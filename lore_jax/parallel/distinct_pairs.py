"""Comparisons that many users made: what everybody shares is fitted to each of them once.

Where all users share one direction, equal pairs have equal margins, so their loss is that of one
pair with the sum of their weights,

    sum_i c_i loss(z_i) = sum_d C_d loss(z_d),      C_d = sum of c_i over the pairs i equal to d.

A thousand users who judge the same prompts with eight replies each make at most 56 distinct pairs a
prompt. Which pair is which is laid out once; weights, which differ by fold, are summed on devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32
from scipy.sparse import csr_matrix

from lore_jax.parallel.pytree import pytree
from lore_jax.parallel.rounding import rounded

Rows: TypeAlias = Int[np.ndarray, "shards _shots _users"]

_MANY = 2**16  # fewer pairs take milliseconds, and programs are shared by all data sets without
_DIGITS = 5


@pytree
class DistinctPairs:
    """Each comparison once; axes `[shards, 1, distinct]`, or inside one shard `[1, distinct]`.

    Attributes:
        chosen: rows of the preferred responses.
        rejected: rows of the other responses.
        number: which of them each pair of each bucket is, `[*shards, shots, users]`.
    """

    chosen: Int32[Array | np.ndarray, "*shards 1 distinct"]
    rejected: Int32[Array | np.ndarray, "*shards 1 distinct"]
    number: tuple[Int32[Array | np.ndarray, "*shards _shots _users"], ...]

    def summed(
        self, weights: Sequence[Float[Array, "_shots _users"]]
    ) -> Float[Array, "1 distinct"]:
        """The weight of each comparison, of one shard's pairs; 0 for padding."""
        total = jnp.zeros(self.chosen.shape[-1])
        for number, weight in zip(self.number, weights, strict=True):
            total = total.at[number].add(weight)
        return total[None]


def distinct_pairs(
    buckets: Sequence[tuple[Rows, Rows]],
) -> DistinctPairs | None:
    """Finds equal pairs within each shard.

    Args:
        buckets: rows of the preferred and of the other responses, of each bucket; copied where
            there are several.

    Returns:
        The distinct pairs (NumPy arrays), or None: there are few pairs, or hardly any are equal.

    Example:
        >>> rows = np.arange(2**16, dtype=np.int32).reshape(1, 256, 256) % 96
        >>> found = distinct_pairs([(rows, rows + 1)])
        >>> found.chosen.shape, int(found.number[0][0, 0, 3])
        ((1, 1, 96), 3)
    """
    shards, pairs = len(buckets[0][0]), sum(chosen[0].size for chosen, _ in buckets)
    if pairs * shards < _MANY:
        return None
    responses = 1 + max(int(side.max()) for sides in buckets for side in sides)
    found = []
    for shard in range(shards):
        sides = tuple(_joined([rows[side][shard] for rows in buckets]) for side in (0, 1))
        made = csr_matrix((np.ones(pairs, np.int8), sides), shape=(responses, responses))
        if 2 * made.nnz > pairs:
            return None
        # The entry (chosen, rejected) is the number of that pair.
        made.data = np.arange(made.nnz, dtype=np.int32)
        found.append(made)
    most = rounded(max(made.nnz for made in found), _DIGITS)
    first, second = np.zeros((2, shards, 1, most), np.int32)
    for shard, made in enumerate(found):
        first[shard, 0, : made.nnz] = np.repeat(np.arange(responses), np.diff(made.indptr))
        second[shard, 0, : made.nnz] = made.indices
    number = tuple(np.empty(chosen.shape, np.int32) for chosen, _ in buckets)
    for (chosen, rejected), numbers in zip(buckets, number, strict=True):
        for shard, made in enumerate(found):
            entries = made[chosen[shard].ravel(), rejected[shard].ravel()]
            numbers[shard] = np.reshape(entries, numbers[shard].shape)
    return DistinctPairs(first, second, number)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """One after the other; a single one is not copied."""
    return parts[0].ravel() if len(parts) == 1 else np.concatenate([part.ravel() for part in parts])
