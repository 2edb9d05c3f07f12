"""The posterior of the basis by Laplace: how much the pairs say of its columns, beside the ridges.

Around the optimum, the negative log-posterior of a column v_k and its item effects b_k is quadratic
with the Hessian of the M step's objective,

    sum_i h_ki (v_k . x_i + c (b_k[chosen_i] - b_k[rejected_i]))^2 / 2 + r_k (|v_k|^2 + |b_k|^2),
    h_ki = weight_i loss''(z_i) E[w_k^2],

x_i being the difference of the pair's embeddings. The effects are integrated out. Given v, that of
a response j judged with precision `d_j = sum of h` over its pairs is known up to `1 / (d_j + rho)`,
rho = 2 r / c^2 being the prior precision of `c b_j`; what data say of v through the response
saturates, however many judge it: `d_j rho / (d_j + rho)`. So each response counts with the weight

    s_j = (1 + d_j / rho)^-1/2,      H_k = sum_i h_i (s e)_chosen - (s e)_rejected) (...)' + 2 r I,

which is exact where responses are not compared with one another again and again (each response
then has its own equation), and was within 2 % of the exact marginal on real votes. The reward of a
response itself depends on v only by the share `s_j^2`: the rest is known from its own judgments.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from lore_jax.model.basis_posterior import KINDS, BasisPosterior
from lore_jax.parallel.buckets import FitData
from lore_jax.parallel.devices import total

_MOST_AXES = 512  # above, only the strongest directions of the table have a full covariance
_KEPT_AXES = 256
_SAMPLED_ROWS = 1024  # from which those are found
_MOST_ROWS = 4096  # for which the graph of comparisons is a matrix: 64 MB
_PAIRS_AT_A_TIME = 1024


def axes_of(data: FitData) -> Float[Array, "dim q"]:
    """Directions along which the covariance is full: all, or the strongest of the table."""
    rows, dim = data.embeddings.shape
    if dim <= _MOST_AXES:
        return jnp.eye(dim)
    sample = data.embeddings[:: -(-rows // _SAMPLED_ROWS)].astype(jnp.float32)
    kept = min(_KEPT_AXES, len(sample))
    vectors = jnp.linalg.eigh(sample @ sample.T)[1][:, -kept:]
    return jnp.linalg.qr(sample.T @ vectors)[0]


def judged(
    data: FitData, precision: tuple[Float[Array, "_shots _users"], ...]
) -> Float[Array, " responses"]:
    """`d`: the precision with which each response is judged, over all shards."""
    degree = jnp.zeros(data.embeddings.shape[0])
    for bucket, h in zip(data.buckets, precision, strict=True):
        degree = degree.at[bucket.chosen].add(h).at[bucket.rejected].add(h)
    return total(degree)


def basis_posterior(
    data: FitData,
    precisions: tuple[tuple[Float[Array, "_shots _users"], ...], ...],
    ridges: Float[Array, " 2"],
    item_effects: Float[Array, " 2"],
) -> tuple[BasisPosterior, Float[Array, "2 responses"]]:
    """The posterior of the population's column and of the others, over all shards.

    Args:
        data: one shard.
        precisions: h of every bucket's pairs, for each of the two kinds of columns.
        ridges: r of each kind.
        item_effects: c of each kind; 0: none.

    Returns:
        The posterior, and the share `s^2` of each response's rewards that depends on it.
    """
    axes = axes_of(data)
    along = jnp.matmul(data.embeddings, axes / data.input_scale, preferred_element_type=jnp.float32)
    factors, shares = [], []
    for kind in range(KINDS):
        degree = judged(data, precisions[kind])
        share = 1.0 / (1.0 + degree * item_effects[kind] ** 2 / (2.0 * ridges[kind]))
        weighted = jnp.sqrt(share)[:, None] * along
        information = total(_information(data, precisions[kind], weighted))
        hessian = information + 2.0 * ridges[kind] * jnp.eye(axes.shape[1])
        lower = jnp.linalg.cholesky(hessian)
        factors.append(solve_triangular(lower, jnp.eye(len(lower)), lower=True).T)
        shares.append(share)
    posterior = BasisPosterior(axes, jnp.stack(factors), 0.5 / ridges)
    return posterior, jnp.stack(shares)


def _information(
    data: FitData, precision: tuple[Array, ...], rows: Float[Array, "responses q"]
) -> Float[Array, "q q"]:
    """`sum_i h_i (rows[chosen_i] - rows[rejected_i]) (...)'` of one shard."""
    count, q = rows.shape
    if count <= _MOST_ROWS:
        graph = jnp.zeros((count, count))
        for bucket, h in zip(data.buckets, precision, strict=True):
            graph = graph.at[bucket.chosen, bucket.rejected].add(h)
        graph += graph.T
        return rows.T @ (jnp.sum(graph, axis=1)[:, None] * rows - graph @ rows)
    summed = jnp.zeros((q, q))
    for bucket, h in zip(data.buckets, precision, strict=True):
        flat = [jnp.ravel(values) for values in (bucket.chosen, bucket.rejected, h)]
        missing = -len(flat[0]) % _PAIRS_AT_A_TIME
        parts = [jnp.pad(values, (0, missing)).reshape(-1, _PAIRS_AT_A_TIME) for values in flat]

        def add(summed: Array, part: tuple[Array, ...]) -> tuple[Array, None]:
            chosen, rejected, h = part
            away = rows[chosen] - rows[rejected]
            return summed + away.T @ (h[:, None] * away), None

        summed, _ = jax.lax.scan(add, summed, tuple(parts))
    return summed
