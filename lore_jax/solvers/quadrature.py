"""Probabilities under an uncertain margin: Gauss-Hermite in one dimension, a lattice in several.

Weights add up to one and the probabilities of all outcomes add up to one at every node, so what is
integrated adds up to one as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import ndtri

_NODES = 24  # probabilities to a thousandth, to three at a standard deviation of five logits
_LATTICE = 256


def log_expected_probability(
    loss: Callable[[Float[Array, "*any"]], Float[Array, "*any"]],
    mean: Float[Array, "*any"],
    variance: Float[Array, "*any"],
) -> Float[Array, "*any"]:
    """`log E[exp(-loss(z))]`, `z ~ N(mean, variance)`.

    Args:
        loss: minus the log probability of what was recorded, given the margin, in nats.
        mean: of the margins, in logits.
        variance: of the margins.

    Returns:
        Log probabilities.

    Example:
        >>> half = log_expected_probability(jax.nn.softplus, jnp.zeros(()), jnp.ones(()))
        >>> round(float(jnp.exp(half)), 3)
        0.5
    """
    node, weight = np.polynomial.hermite_e.hermegauss(_NODES)
    log_weight = np.log(weight / weight.sum())
    spread = jnp.sqrt(variance)

    def add(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        return jnp.logaddexp(total, at[1] - loss(mean + at[0] * spread)), None

    nodes = jnp.asarray(node, mean.dtype), jnp.asarray(log_weight, mean.dtype)
    return jax.lax.scan(add, jnp.full_like(mean, -jnp.inf), nodes)[0]


@functools.cache
def normal_lattice(dim: int) -> Float[np.ndarray, "nodes dim"]:
    """Points that stand for `N(0, I)`, equally weighted: mean 0, covariance I.

    A rank-one lattice by the generalised golden ratio, and its mirror image.

    Args:
        dim: of the space.

    Returns:
        `[nodes, dim]`, float32.

    Example:
        >>> bool(abs(normal_lattice(3).std() - 1.0) < 1e-5)
        True

    Reference:
        Roberts 2018, "The unreasonable effectiveness of quasirandom sequences" (the ratio).
    """
    ratio = 2.0
    for _ in range(60):
        ratio = (1.0 + ratio) ** (1.0 / (dim + 1))
    step = ratio ** -np.arange(1.0, dim + 1)
    points = ndtri((0.5 + np.arange(1, _LATTICE // 2 + 1)[:, None] * step) % 1.0)
    points = np.linalg.solve(np.linalg.cholesky(points.T @ points / len(points)), points.T).T
    return np.concatenate([points, -points]).astype(np.float32)
