"""One user's Gaussian process over pairs, in dual form: a Newton solve of the size of the shots.

With prior covariance K of the margins of a user's s pairs, `K_ij = tau^2 x_i . x_j`, and what
everybody shares of them, o, the user's own part is K a, and a = -c loss'(o + K a) at the mode.
Newton's step on that, with W = c loss''(z) and r = -c loss'(z) - a, is

    a <- a + r - W^1/2 B^-1 W^1/2 K r,      B = I + W^1/2 K W^1/2   [s, s],

whose cost does not depend on the dim. The margin's variance given the shots is k_tt - k_t' W^1/2
B^-1 W^1/2 k_t, k_t being the kernel between a test pair and the shots. Kernels are gathered from
the inner products of the responses, so no difference of embeddings is formed.

Reference:
    Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", algorithms 3.1 and 3.2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from lore_jax.solvers.likelihood import LOGISTIC, step_length

_TOLERANCE = 1e-3  # logits: the largest change of a margin in the last step
_MOST_STEPS = 30
_CG_STEPS = 30
_CG_TOLERANCE = 1e-2  # an inexact step costs another one


class DualMode(NamedTuple):
    """A user's mode.

    Attributes:
        dual: a, one coefficient a shot.
        precision: `W^1/2 B^-1 W^1/2`, the inverse of `K + W^-1`.
    """

    dual: Float[Array, " shots"]
    precision: Float[Array, "shots shots"]


def dual_mode(
    kernel: Float[Array, "shots shots"],
    offset: Float[Array, " shots"],
    pair_weight: Float[Array, " shots"],
) -> DualMode:
    """The mode of a Gaussian process at one user's pairs, by damped Newton steps.

    Args:
        kernel: K, prior covariance of the margins.
        offset: o, the population's margins in logits.
        pair_weight: c, 0 for padding.

    Returns:
        The `DualMode`; margins at the mode are `offset + kernel @ dual`.

    Example:
        >>> mode = dual_mode(jnp.eye(1), jnp.zeros(1), jnp.ones(1))
        >>> bool(jnp.isclose(mode.dual[0], jax.nn.sigmoid(-mode.dual[0]), atol=1e-3))
        True
    """

    def root_of(margin: Array) -> Array:
        return jnp.sqrt(pair_weight * LOGISTIC.curvature(margin))

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        dual, _, steps = state
        own = kernel @ dual
        root = root_of(offset + own)
        residual = -pair_weight * LOGISTIC.slope(offset + own) - dual
        solved, _ = cg(
            lambda x: x + root * (kernel @ (root * x)),
            root * (kernel @ residual),
            tol=_CG_TOLERANCE,
            maxiter=_CG_STEPS,
        )
        towards = residual - root * solved
        move = jnp.max(jnp.abs(kernel @ towards) * (pair_weight > 0), initial=1e-6)
        length = step_length(LOGISTIC, move, jnp.ones_like(move))
        return dual + length * towards, move, steps + 1

    def not_done(state: tuple[Array, Array, Array]) -> Array:
        return (state[1] > _TOLERANCE) & (state[2] < _MOST_STEPS)  # a NaN ends it and stays

    start = jnp.zeros_like(offset), jnp.asarray(jnp.inf, offset.dtype), jnp.zeros((), jnp.int32)
    dual = jax.lax.while_loop(not_done, step, start)[0]
    root = root_of(offset + kernel @ dual)
    inner = inverse(jnp.eye(len(offset)) + root[:, None] * kernel * root[None])
    return DualMode(dual, root[:, None] * inner * root[None])


def inverse(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The inverse of the identity plus a positive semi-definite matrix, by n sweeps.

    Every pivot is 1 or more, so none is searched for. (LAPACK, batched over users inside a loop,
    was seen to hang on two cores.)

    Example:
        >>> float(inverse(2.0 * jnp.eye(2))[0, 0])
        0.5

    Reference:
        Goodnight 1979, "A tutorial on the SWEEP operator".
    """

    def sweep(k: Array, matrix: Array) -> Array:
        pivot, row, column = matrix[k, k], matrix[k], matrix[:, k]
        rest = matrix - column[:, None] * (row / pivot)[None]
        swept = rest.at[k].set(row / pivot).at[:, k].set(-column / pivot)
        return swept.at[k, k].set(1.0 / pivot)

    return jax.lax.fori_loop(0, len(matrix), sweep, matrix)


def pair_kernel(
    products: Float[Array, "n n"], left: tuple[Array, Array], right: tuple[Array, Array]
) -> Float[Array, "lefts rights"]:
    """`x_i . x_j` of pairs, given as rows (chosen, rejected), from responses' inner products."""
    sides = [[products[row[:, None], column[None, :]] for column in right] for row in left]
    return sides[0][0] - sides[0][1] - sides[1][0] + sides[1][1]


def own_margins(
    mode: DualMode, across: Float[Array, "tests shots"], prior: Float[Array, " tests"]
) -> tuple[Float[Array, " tests"], Float[Array, " tests"]]:
    """What the shots say of a user's own part of test margins: mean and variance.

    Args:
        mode: from the shots.
        across: kernel between test pairs and shots.
        prior: prior variance of each test margin.
    """
    explained = jnp.sum((across @ mode.precision) * across, axis=1)
    return across @ mode.dual, jnp.maximum(prior - explained, 0.0)
