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
    runs, on a CPU, ten times as long.
    """
    along = features[1:]
    margin = features[0] + combine(along, mean)
    # Transposed, not along ones: of a ranking, margins share in each other's curvatures.
    curvature, through = jax.vjp(likelihood.curvature, margin)
    slope, curvature = pair_weight * likelihood.slope(margin), pair_weight * curvature
    spread = [combine(along, row) for row in covariance]  # q
    variance = sum((f * q for f, q in zip(along, spread, strict=True)), jnp.zeros_like(margin))
    loss = jnp.sum(pair_weight * likelihood.loss(margin) + 0.5 * curvature * variance)
    if len(along) == 0:
        return loss, slope[None]
    (through_z,) = through(0.5 * pair_weight * variance)
    pulled = pull_together(along, through_z)
    modes = combine(covariance, pulled)  # u: S is symmetric
    of_offset = slope + through_z - curvature * combine(along, modes)
    of_offset, slope, curvature = jax.lax.optimization_barrier((of_offset, slope, curvature))
    of_features = [
        of_offset * m[None] + curvature * q - slope * u[None]
        for m, q, u in zip(mean, spread, modes, strict=True)
    ]
    return loss, jnp.stack([of_offset, *of_features])
