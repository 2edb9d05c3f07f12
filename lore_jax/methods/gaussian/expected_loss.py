"""The M step's loss of a user's pairs under the posterior of the E step, and its gradient.

`laplace_em` derives the surrogate; its gradient is that of the Laplace evidence.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from lore_jax.solvers.likelihood import Likelihood
from lore_jax.solvers.pair_sums import combine, pull_together


def expected_loss(
    features: Array,
    pair_weight: Array,
    mean: Array,
    covariance: Array,
    likelihood: Likelihood,
) -> tuple[Array, Array]:
    """The surrogate of the M step, summed over a bucket's pairs, and its gradient in the features.

    With A the derivative of `sum_j weight_j loss''(z_j) f_j' S f_j / 2` in a pair's margin, q = S f
    and u = S sum_j A_j f_j, the gradient of the pair is

        G_o = weight loss'(z) + A - weight loss''(z) f . u
        G_f = G_o m + weight loss''(z) q - weight loss'(z) u,

    u being what the modes add. It is written out because what differentiation makes of the sums
    runs, on a CPU, ten times as long; and in loops over columns, because what a loop takes is
    written down once, where otherwise XLA computes all of it anew for every column.
    """
    along = features[1:]
    margin = features[0] + combine(along, mean)
    # Transposed, not along ones: of a ranking, margins share in each other's curvatures.
    curvature, through = jax.vjp(likelihood.curvature, margin)
    slope, curvature = pair_weight * likelihood.slope(margin), pair_weight * curvature
    losses = pair_weight * likelihood.loss(margin)
    if len(along) == 0:
        return jnp.sum(losses), slope[None]

    def add(spread: Array, column: tuple[Array, Array]) -> tuple[Array, None]:
        f, row = column
        return spread + f[None] * row[:, None], None

    spread, _ = jax.lax.scan(add, jnp.zeros_like(along), (along, covariance))  # q
    variance = sum((f * q for f, q in zip(along, spread, strict=True)), jnp.zeros_like(margin))
    loss = jnp.sum(losses + 0.5 * curvature * variance)
    (through_z,) = through(0.5 * pair_weight * variance)
    pulled = pull_together(along, through_z)
    modes = combine(covariance, pulled)  # u: S is symmetric
    of_offset = slope + through_z - curvature * combine(along, modes)

    def of_column(column: tuple[Array, Array, Array]) -> Array:
        m, q, u = column
        return of_offset * m[None] + curvature * q - slope * u[None]

    of_features = jax.lax.map(of_column, (mean, spread, modes))
    return loss, jnp.concatenate([of_offset[None], of_features])
