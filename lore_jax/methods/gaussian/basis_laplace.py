"""The posterior of the basis by Laplace: how much the pairs say of its columns, beside the ridges.

Around the optimum, the negative log-posterior of a column v_k and its item effects b_k is quadratic
with the Hessian of the M step's objective,

    sum_i h_ki (v_k . x_i + c (b_k[chosen_i] - b_k[rejected_i]))^2 / 2 + r_k (|v_k|^2 + |b_k|^2),
    h_ki = weight_i loss''(z_i) E[w_k^2],

x_i being the difference of the pair's embeddings. The effects are integrated out. Given v, that of
a response j judged with precision `d_j = sum of h` over its pairs is known up to `1 / (d_j + rho)`,
rho = 2 r / c^2 being the prior precision of `c b_j`; what data say of v through the response
saturates, however many judge it: `d_j rho / (d_j + rho)`. So each response counts with the weight

    s_j = (1 + d_j / rho)^-1/2,      H_k = sum_i h_i ((s e)_chosen - (s e)_rejected) (...)' + 2 r I,

which is exact where responses are not compared with one another again and again (each response
then has its own equation), and was within 2 % of the exact marginal on real votes. The reward of a
response itself depends on v only by the share `s_j^2`: the rest is known from its own judgments.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from lore_jax.model.basis_posterior import KINDS, BasisPosterior, along_axes
from lore_jax.parallel.buckets import FitData, UserBucket, add_to_rows, over_rows, over_users
from lore_jax.parallel.devices import total
from lore_jax.solvers.range_finder import strongest_axes

_MOST_AXES = 512  # above, only the strongest directions of the table have a full covariance
_KEPT_AXES = 256
_MOST_ROWS = 4096  # for which the graph of comparisons is a matrix: 64 MB
_PAIRS_AT_A_TIME = 4096
_COLUMNS = 64
_MOST_NUMBERS = 2**22  # of a block of columns: 16 MB, of which three are held


def _axes(data: FitData) -> Float[Array, "dim q"]:
    """Directions along which the covariance is full: all, or the strongest of the table."""
    dim = data.embeddings.shape[1]
    if dim <= _MOST_AXES:
        return jnp.eye(dim)
    return strongest_axes(data.embeddings, _KEPT_AXES)


class Precisions(NamedTuple):
    """h of every bucket's pairs, one number a pair for both kinds of columns.

    Attributes:
        pairs: of the population's column, `[shots, users]`.
        moments: what it is multiplied by for another column, `E[w^2]` of each user, `[users]`; of
            no bucket, where the basis has no other columns.
    """

    pairs: tuple[Array, ...]
    moments: tuple[Array, ...]

    def of_kind(self, kind: int) -> list[tuple[Array, Array]]:
        """For each bucket h of the pairs, and the factor of its users, `[1, users]`."""
        if kind == 0:
            return [(h, jnp.ones((1, h.shape[-1]))) for h in self.pairs]
        factors = [moment[None] for moment in self.moments]
        return list(zip(self.pairs, factors, strict=bool(factors)))


def shares(
    data: FitData,
    precisions: Precisions,
    ridges: Float[Array, " 2"],
    item_effects: Float[Array, "2 #responses"],
) -> Float[Array, "2 responses"]:
    """`s^2 = 1 / (1 + d / rho)` of each response, for each kind of columns, over all shards.

    Args:
        data: one shard.
        precisions: of every bucket's pairs.
        ridges: r of each kind.
        item_effects: c of each kind, of all responses or of each; 0: none.

    Returns:
        The share of a response's rewards that depends on the basis; 1 if nobody judged it.
    """

    def add(degree: Array, bucket: UserBucket, h: Array, moment: Array) -> tuple[Array, None]:
        h *= moment
        return degree.at[bucket.chosen].add(h).at[bucket.rejected].add(h), None

    degrees = []
    for kind in range(KINDS):
        degree = jnp.zeros(data.embeddings.shape[0])
        for bucket, (h, moment) in zip(data.buckets, precisions.of_kind(kind), strict=False):
            degree, _ = over_users(add, degree, bucket, h, moment)
        degrees.append(degree)
    degree = jnp.stack(degrees)
    return 1.0 / (1.0 + total(degree) * item_effects**2 / (2.0 * ridges[:, None]))


def basis_posterior(
    data: FitData,
    precisions: Precisions,
    ridges: Float[Array, " 2"],
    share: Float[Array, "2 responses"],
) -> BasisPosterior:
    """The posterior of the population's column and of the others, over all shards.

    Args:
        data: one shard.
        precisions: as in `shares`.
        ridges: r of each kind.
        share: from `shares`.

    Returns:
        The posterior.
    """
    axes = _axes(data)
    if data.rows is not None:  # the others add nothing
        data, share = over_rows(data, data.rows.judged), share[:, data.rows.judged]
    along = along_axes(data.embeddings, axes, data.input_scale)
    factors = []
    for kind in range(KINDS):
        of_pairs = precisions.of_kind(kind)
        if not of_pairs:  # the prior
            factors.append(jnp.eye(axes.shape[1]) / jnp.sqrt(2.0 * ridges[kind]))
            continue
        information = total(_information(data, of_pairs, along, jnp.sqrt(share[kind])))
        hessian = information + 2.0 * ridges[kind] * jnp.eye(axes.shape[1])
        lower = jnp.linalg.cholesky(hessian)
        factors.append(solve_triangular(lower, jnp.eye(len(lower)), lower=True).T)
    return BasisPosterior(axes, jnp.stack(factors), 0.5 / ridges)


def _information(
    data: FitData,
    precisions: list[tuple[Array, Array]],
    along: Float[Array, "responses q"],
    size: Float[Array, " responses"],
) -> Float[Array, "q q"]:
    """`sum_i h_i (rows[chosen_i] - rows[rejected_i]) (...)'` of one shard, `rows = size along`."""
    count, width = along.shape
    if count <= _MOST_ROWS:
        rows = size[:, None] * along
        graph = jnp.zeros((count, count))
        for bucket, (h, moment) in zip(data.buckets, precisions, strict=True):
            graph = graph.at[bucket.chosen, bucket.rejected].add(h * moment)
        graph += graph.T
        return rows.T @ (jnp.sum(graph, axis=1)[:, None] * rows - graph @ rows)

    # The Laplacian of the graph times the rows, pair by pair; some columns at a time, so that
    # `along` is the only array of its size.
    at_once = _COLUMNS
    while at_once * count > _MOST_NUMBERS and at_once > 1:
        at_once //= 2

    def columns(start: Array) -> Array:
        rows = size[:, None] * jax.lax.dynamic_slice_in_dim(along, start, at_once, axis=1)

        def add(product: Array, bucket: UserBucket, h: Array, moment: Array) -> tuple[Array, None]:
            pull = (h * moment)[..., None] * (rows[bucket.chosen] - rows[bucket.rejected])
            return add_to_rows(product, bucket, pull), None

        product = jnp.zeros_like(rows)
        for bucket, said in zip(data.buckets, precisions, strict=True):
            product, _ = over_users(add, product, bucket, *said, most=_PAIRS_AT_A_TIME)
        return (size[:, None] * product).T @ along

    if width % at_once:
        along = jnp.pad(along, ((0, 0), (0, -width % at_once)))
    blocks = jax.lax.map(columns, jnp.arange(0, along.shape[1], at_once))
    return blocks.reshape(-1, along.shape[1])[:width, :width]
