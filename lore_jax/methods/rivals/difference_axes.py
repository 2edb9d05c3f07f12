"""Principal directions of the differences within pairs, without forming a difference.

With x_i = e_chosen - e_rejected, they are the leading eigenvectors of

    sum_i c_i x_i x_i' = E' L E,

L the Laplacian of the graph of pairs. A product with x is one with the table and two look-ups, its
transpose the same backwards, and subspace iteration needs nothing else.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.parallel.buckets import FitData, features
from lore_jax.parallel.devices import total

_ROUNDS = 8  # of subspace iteration
_OVERSAMPLED = 8  # columns more than are wanted, so that the last ones converge as well


def principal_directions(data: FitData, count: int, *, key: jax.Array) -> Float[Array, "dim count"]:
    """The leading eigenvectors of the second moment of differences, over all shards.

    Args:
        data: one shard.
        count: how many, at most dim.
        key: where the iteration starts.

    Returns:
        Orthonormal columns, the strongest first.

    Reference:
        Halko, Martinsson and Tropp 2011, arXiv 0909.4061, algorithms 4.4 and 5.3.
    """
    dim = data.embeddings.shape[1]
    columns = min(dim, count + _OVERSAMPLED)
    weights = [jnp.asarray(bucket.pair_weight) for bucket in data.buckets]

    def differences(directions: Array) -> list[Array]:
        """Each pair's difference along each direction, `[columns, shots, users]`."""
        table = jnp.matmul(data.table, directions, preferred_element_type=jnp.float32)
        return [features(table, bucket) for bucket in data.buckets]

    transpose = jax.linear_transpose(differences, jax.ShapeDtypeStruct((dim, columns), jnp.float32))

    def weighted(directions: Array) -> list[Array]:
        along = differences(directions)
        return [weight[None] * part for weight, part in zip(weights, along, strict=True)]

    def improve(_: Array, directions: Array) -> Array:
        (moved,) = transpose(weighted(directions))
        return jnp.linalg.qr(total(moved))[0]

    directions = jnp.linalg.qr(jax.random.normal(key, (dim, columns)))[0]
    directions = jax.lax.fori_loop(0, _ROUNDS, improve, directions)
    (moved,) = transpose(weighted(directions))
    vectors = jnp.linalg.eigh(directions.T @ total(moved))[1]  # ascending
    return directions @ vectors[:, ::-1][:, :count]
