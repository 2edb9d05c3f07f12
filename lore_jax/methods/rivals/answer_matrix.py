"""Answers as a matrix of users x pairs with gaps, never dense, and its singular vectors.

A has a row for each user and a column for each unordered pair of responses: +1 or -1 where the user
judged the pair; gaps are read as 0. Subspace iteration for its leading left singular vectors needs
A and A' times a few vectors, sums over the pairs as they lie.

Reference:
    Halko, Martinsson and Tropp 2011, arXiv 0909.4061, algorithm 4.4.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.data.preferences import Preferences
from lore_jax.parallel.buckets import FitData, UserBucket
from lore_jax.parallel.devices import total

_ROUNDS = 8  # of subspace iteration
_OVERSAMPLED = 8  # vectors more than are wanted, so that the last ones converge as well
# Of a table of pair factors. Unordered pairs are numbered exactly where the responses are fewer
# than a thousand; beyond that some share a row, which blurs the factors a little.
_MOST_PAIRS = 1_048_573
_TINY = 1e-6


class BucketAnswers(NamedTuple):
    """A bucket's part of A, `[shots, users]`.

    Attributes:
        pair: which column.
        sign: the answer; 0 for padding.
    """

    pair: Int[Array, "shots users"]
    sign: Float[Array, "shots users"]


class AnswerMatrix(NamedTuple):
    """A, for use inside a function mapped over shards.

    Attributes:
        buckets: this shard's rows.
        columns: how many there are.
    """

    buckets: list[BucketAnswers]
    columns: int

    def to_pairs(self, users: list[Array]) -> Float[Array, "columns k"]:
        """`A' L` over all shards, of vectors `[k, users]` for each bucket."""
        parts = [
            jnp.zeros((self.columns, len(own)))
            .at[answer.pair.ravel()]
            .add((own[:, None] * answer.sign[None]).reshape(len(own), -1).T)
            for own, answer in zip(users, self.buckets, strict=True)
        ]
        return total(sum(parts))

    def to_users(self, pairs: Float[Array, "columns k"]) -> list[Array]:
        """`A B`, `[k, users]` for each bucket."""
        return [
            jnp.sum(jnp.moveaxis(pairs[answer.pair], -1, 0) * answer.sign[None], axis=1)
            for answer in self.buckets
        ]


def answer_matrix(data: FitData) -> AnswerMatrix:
    """The matrix of one shard's pairs."""
    responses = data.embeddings.shape[0]
    columns = min(responses**2, _MOST_PAIRS)
    return AnswerMatrix([_answers(bucket, responses, columns) for bucket in data.buckets], columns)


def left_singular_vectors(
    matrix: AnswerMatrix, data: FitData, count: int, *, key: jax.Array
) -> list[Float[Array, "count _users"]]:
    """The leading left singular vectors.

    Args:
        matrix: of `data`.
        data: whose users they belong to.
        count: how many.
        key: where the iteration starts.

    Returns:
        For each bucket `[count, users]`, the strongest first; users without answers have 0.
    """

    def improve(_: Array, users: list[Array]) -> list[Array]:
        users = matrix.to_users(matrix.to_pairs(users))
        values, vectors = jnp.linalg.eigh(total(sum(own @ own.T for own in users)))
        kept = jnp.maximum(values, _TINY * values[-1:])
        rotation = (vectors / jnp.sqrt(kept)[None])[:, ::-1]
        return [rotation.T @ own for own in users]

    def draw(user: Array) -> Array:
        return jax.random.normal(
            jax.random.fold_in(key, jnp.maximum(user, 0)), (count + _OVERSAMPLED,)
        )

    users = [jax.vmap(draw)(jnp.asarray(ids)).T for ids in data.users.buckets]
    users = jax.lax.fori_loop(0, _ROUNDS, improve, users)
    return [own[:count] for own in users]


def _answers(bucket: UserBucket, responses: int, columns: int) -> BucketAnswers:
    chosen, rejected = jnp.asarray(bucket.chosen), jnp.asarray(bucket.rejected)
    weight = jnp.asarray(bucket.pair_weight)
    least, most = jnp.minimum(chosen, rejected), jnp.maximum(chosen, rejected)
    pair = (least.astype(jnp.uint32) * responses + most.astype(jnp.uint32)) % columns
    sign = jnp.where(chosen == least, 1.0, -1.0) * (weight > 0)
    return BucketAnswers(pair.astype(jnp.int32), sign)


def num_shared_pairs(prefs: Preferences) -> int:
    """How many unordered pairs of responses two or more users judged.

    Example:
        >>> table = np.eye(3, dtype=np.float32)
        >>> num_shared_pairs(from_arrays(table, [0, 1, 2], [1, 0, 1], [0, 1, 1]))
        1
    """
    kept = prefs.pair_weight > 0
    sides = np.sort(np.stack([prefs.chosen[kept], prefs.rejected[kept]]), axis=0)
    answers = np.unique(np.stack([*sides, prefs.user[kept]]), axis=1)[:2]
    users = np.unique(answers, axis=1, return_counts=True)[1]
    return int((users > 1).sum())
