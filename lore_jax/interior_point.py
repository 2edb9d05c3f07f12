"""One user's weights on the simplex: the exact optimum of the paper's convex problem, with a certificate.

With the basis frozen the paper's few-shot objective, in the weights themselves,

    minimise  f(w) = sum_i c_i log(1 + exp(-f_i . w))      subject to  w >= 0,  sum_k w_k = 1,

is convex of size rank. Its optimum usually lies on a face (some weights exactly 0), where the softmax logits of the
published fit run to minus infinity: no number of gradient steps gets there, and a gradient in the logits vanishes
everywhere on the way. A primal-dual interior point takes about ten steps.

Newton step. With multipliers `s >= 0` of `w >= 0` and v of the sum, the perturbed optimality conditions are

    grad f(w) - s + v 1 = 0,     w_k s_k = mu,     sum_k w_k = 1.

Linearised, and ds eliminated by `ds = mu / w - s - (s / w) dw`:

    (H + diag(s / w)) dw + v 1 = mu / w - grad f(w),     sum_k dw_k = 0,

one Cholesky factorisation of size rank and two substitutions, a and b, for the right-hand sides above and 1:
`v = sum a / sum b`, `dw = a - v b`.

Certificate. For any feasible w, convexity gives `f(w) - f(w*) <= grad f(w) . w - min_k grad f(w)_k`, the duality gap
(Frank-Wolfe gap), which needs no multipliers. It is what `converged` tests.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lore_jax.cholesky import cholesky, solve
from lore_jax.newton import weighted_outer

_TOLERANCE = 1e-6  # nats, or this part of the spread of the gradient where that is larger: float32 resolves no better
_TO_THE_WALL = 0.99  # share of the way to the nearest wall that one step may take
_CENTRING = 0.1  # each step aims at this share of the present w . s


class SimplexEstimate(NamedTuple):
    """Where the interior point arrived; every field has the users, if any, in its trailing axes.

    Attributes:
        weights: w, non-negative, summing to 1, `[rank, ...]`.
        gap: upper bound on `f(w) - f(w*)` in nats, `[...]`.
        converged: whether the gap is below a millionth, `[...]`.
        steps: how many Newton steps were taken, int32 `[...]`.
        grad_norm: norm of the gradient of f in the softmax logits, `w * (grad f - w . grad f)`, `[...]`.
    """

    weights: jax.Array
    gap: jax.Array
    converged: jax.Array
    steps: jax.Array
    grad_norm: jax.Array


def simplex_estimate(features: jax.Array, weight: jax.Array, *, max_steps: int = 40) -> SimplexEstimate:
    """The weights on the simplex that minimise a user's mean Bradley-Terry loss.

    `argmin_{w in simplex} sum_i c_i log(1 + exp(-f_i . w)) / sum_i c_i`

    Args:
        features: f, differences of the rewards of a pair divided by the temperature, `[rank, shots, ...]`.
        weight: c, how much a pair counts, 0 for padding, `[shots, ...]`.
        max_steps: the most steps to take.

    Returns:
        A `SimplexEstimate`; with users in a trailing axis, one estimate a user. Never raises: see its `converged`.

    Example:
        >>> one = simplex_estimate(jnp.array([[1.0, 1.0], [-1.0, 0.5]]), jnp.ones(2))
        >>> one.weights.round(3)
        Array([1., 0.], dtype=float32)

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 5; Boyd and Vandenberghe 2004, "Convex optimization", section 11.7;
        Jaggi 2013, "Revisiting Frank-Wolfe" (the gap).
    """
    rank = features.shape[0]
    total = jnp.sum(weight, axis=0, keepdims=True)
    share = weight / jnp.where(total > 0, total, 1.0)

    def derivatives(weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        lost = jax.nn.sigmoid(-jnp.sum(features * weights[:, None], axis=0))
        pull = share * lost
        return -jnp.sum(features * pull[None], axis=1), weighted_outer(features, pull * (1.0 - lost))

    def duality_gap(weights: jax.Array, gradient: jax.Array) -> jax.Array:
        return jnp.sum(weights * gradient, axis=0) - jnp.min(gradient, axis=0)

    start = jnp.full((rank, *features.shape[2:]), 1.0 / rank)
    gradient, _ = derivatives(start)
    spread = jnp.max(gradient, axis=0) - jnp.min(gradient, axis=0)
    tolerance = _TOLERANCE * jnp.maximum(spread, 1.0)

    def not_done(state: tuple[jax.Array, ...]) -> jax.Array:
        return jnp.any(state[3])

    def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        weights, slack, steps, active = state
        gradient, hessian = derivatives(weights)
        mu = _CENTRING * jnp.mean(weights * slack, axis=0, keepdims=True)
        lower = cholesky(_add_to_diagonal(hessian, slack / weights))
        a = solve(lower, mu / weights - gradient)
        b = solve(lower, jnp.ones_like(weights))
        towards = a - b * (jnp.sum(a, axis=0, keepdims=True) / jnp.sum(b, axis=0, keepdims=True))
        slack_towards = mu / weights - slack - (slack / weights) * towards
        rho = jnp.max(jnp.abs(jnp.sum(features * towards[:, None], axis=0)) * (share > 0), axis=0, initial=1e-6)
        length = jnp.minimum(jnp.log1p(rho) / rho, jnp.minimum(_room(weights, towards), _room(slack, slack_towards)))
        moved = weights + length[None] * towards
        moved = moved / jnp.sum(moved, axis=0, keepdims=True)
        steps = steps + active
        gradient, _ = derivatives(moved)
        going = active & (duality_gap(moved, gradient) > tolerance) & (steps < max_steps)
        return (
            jnp.where(active[None], moved, weights),
            jnp.where(active[None], slack + length[None] * slack_towards, slack),
            steps,
            going,
        )

    slack = gradient - jnp.min(gradient, axis=0, keepdims=True) + jnp.maximum(spread, 1e-12)[None]
    active = duality_gap(start, gradient) > tolerance
    init = (start, slack, jnp.zeros(active.shape, jnp.int32), active)
    weights, _, steps, _ = jax.lax.while_loop(not_done, step, init)
    gradient, _ = derivatives(weights)
    gap = duality_gap(weights, gradient)
    in_logits = weights * (gradient - jnp.sum(weights * gradient, axis=0, keepdims=True))
    return SimplexEstimate(weights, gap, gap <= tolerance, steps, jnp.sqrt(jnp.sum(in_logits**2, axis=0)))


def _add_to_diagonal(matrix: jax.Array, diagonal: jax.Array) -> jax.Array:
    eye = jnp.eye(matrix.shape[0]).reshape(*matrix.shape[:2], *[1] * (matrix.ndim - 2))
    return matrix + eye * diagonal[:, None]


def _room(position: jax.Array, direction: jax.Array) -> jax.Array:
    """The longest step in `(0, 1]` that keeps a positive `position [rank, ...]` positive, `[...]`."""
    to_wall = jnp.where(direction < 0, -position / jnp.where(direction < 0, direction, -1.0), jnp.inf)
    return jnp.minimum(1.0, _TO_THE_WALL * jnp.min(to_wall, axis=0))
