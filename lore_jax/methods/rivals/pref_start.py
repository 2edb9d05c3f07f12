"""Where PReF's descent starts: user factors by SVD, pair factors linear in embeddings.

The leading left singular vectors of the answers (`answer_matrix`) are the user factors L, scaled to
L'L = users I. With them the pair factors B = A' L / answers x pairs minimise the squared error of
A ~ L B' where gaps are as likely everywhere, times 2 because E[A] = tanh(z / 2) ~ z / 2; ridge
regression of B on the differences x of the pairs gives Phi.

Reference:
    Shenfeld et al. 2025, arXiv 2503.06358, section 3.1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from lore_jax.methods.rivals.answer_matrix import answer_matrix, left_singular_vectors
from lore_jax.parallel.buckets import FitData, PerUser, features
from lore_jax.parallel.devices import total

_CG_STEPS = 50


class Factors(NamedTuple):
    """What the descent moves.

    Attributes:
        phi: Phi, `[dim, k]`.
        users: lambda, `[k, users]`.
    """

    phi: Float[Array, "*shards dim k"]
    users: PerUser


def start_factors(data: FitData, count: int, *, key: jax.Array) -> Factors:
    """User factors by truncated SVD, and Phi by ridge regression of the pair factors.

    Args:
        data: one shard.
        count: how many factors.
        key: where the subspace iteration starts.

    Returns:
        The factors, the strongest first; users without answers have 0.
    """
    matrix, dim = answer_matrix(data), data.embeddings.shape[1]
    answers = matrix.buckets
    users = left_singular_vectors(matrix, data, count, key=key)
    judged = [jnp.any(answer.sign != 0, axis=0) for answer in answers]
    size = jnp.sqrt(total(sum(jnp.sum(some) for some in judged)).astype(jnp.float32))
    users = [size * own for own in users]

    # Ridge regression over distinct pairs: one that n users judged stands n times, each of 1 / n.
    counted = [
        jnp.zeros(matrix.columns).at[answer.pair.ravel()].add(jnp.abs(answer.sign).ravel())
        for answer in answers
    ]
    often = total(sum(counted))
    share = [jnp.abs(answer.sign) / jnp.maximum(often[answer.pair], 1.0) for answer in answers]
    distinct = total(sum(jnp.sum(part) for part in share))
    factors = 2.0 * matrix.to_pairs(users) * distinct / jnp.sum(often)

    def differences(phi: Array) -> list[Array]:
        table = jnp.matmul(data.table, phi / data.input_scale, preferred_element_type=jnp.float32)
        return [features(table, bucket) for bucket in data.buckets]

    transpose = jax.linear_transpose(differences, jax.ShapeDtypeStruct((dim, count), jnp.float32))

    def gram(phi: Array) -> Array:
        parts = zip(share, differences(phi), strict=True)
        return total(transpose([own[None] * part for own, part in parts])[0]) + ridge * phi

    ridge = distinct / dim  # the mean eigenvalue of `X'X`, for rows of norm 1
    target = [
        jnp.moveaxis(factors[answer.pair], -1, 0) * (own * answer.sign)[None]
        for answer, own in zip(answers, share, strict=True)
    ]
    phi, _ = cg(gram, total(transpose(target)[0]), maxiter=_CG_STEPS)
    return Factors(phi, PerUser(tuple(users)))
