"""Where the deviations start: along which users depart most from the population.

At the population, user u's score (the gradient of the log-likelihood in a personal direction) is

    g_u = -sum_i c_i loss'(o_i) (e_chosen - e_rejected),

and sum_u g_u g_u' is large along a direction exactly when users consistently depart from the
population along it: the score test for the variance of a random effect. Its leading eigenvectors
are found by subspace iteration, each round of which passes twice over the table; the users x dim
matrix of scores is never formed.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.parallel.buckets import FitData, UserBucket, add_to_rows, features, over_users
from lore_jax.parallel.devices import total
from lore_jax.parallel.table_rows import map_rows, sum_over_rows
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood

_ROUNDS = 4


def score_directions(
    data: FitData,
    offsets: Float[Array, " responses"],
    key: jax.Array,
    count: int,
    *,
    likelihood: Likelihood = LOGISTIC,
) -> Float[Array, "dim count"]:
    """The leading directions of users' departure from the population, over all shards.

    Args:
        data: one shard.
        offsets: the population's rewards of the table, `[responses]`.
        key: where the iteration starts.
        count: how many directions.
        likelihood: whose loss.

    Returns:
        Orthonormal columns `[dim, count]`, the strongest first in expectation.

    Reference:
        Halko, Martinsson and Tropp 2011, arXiv 0909.4061 (subspace iteration); Shashkov et al.
        2025, arXiv 2503.06358, starts from the SVD of a user x pair matrix, which needs pairs
        shared between users.
    """
    dim = data.embeddings.shape[1]

    def along(directions: Array, rows: Array) -> Array:
        return jnp.matmul(rows, directions, preferred_element_type=jnp.float32)

    def gathered(directions: Float[Array, "dim count"]) -> Float[Array, "dim count"]:
        """`sum_u g_u g_u' directions`."""
        table = map_rows(along, directions / data.input_scale, data.embeddings)

        def add(pulled: Array, bucket: UserBucket) -> tuple[Array, None]:
            margin = offsets[bucket.chosen] - offsets[bucket.rejected]
            pull = -bucket.pair_weight * likelihood.slope(margin)
            scores = jnp.sum(features(table, bucket) * pull[None], axis=1)  # [count, users]
            values = jnp.moveaxis(scores[:, None] * pull[None], 0, -1)
            return add_to_rows(pulled, bucket, values), None

        pulled = jnp.zeros((data.embeddings.shape[0], count))
        for bucket in data.buckets:
            pulled, _ = over_users(add, pulled, bucket)
        return sum_over_rows(along, directions, data.embeddings, pulled) / data.input_scale

    directions = jnp.linalg.qr(jax.random.normal(key, (dim, count)))[0]
    for _ in range(_ROUNDS):
        directions = jnp.linalg.qr(total(gathered(directions)))[0]
    return directions
