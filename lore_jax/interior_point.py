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

Step length. What remains of the way to the walls (`w > 0`, `s > 0`) is taken whole if the barrier problem
`f(w) - mu sum_k log w_k` still falls at its end, for then, being convex, it fell all the way; or if no margin moves by
more than a logit. Otherwise the step is damped as in `newton.py`.

Certificate. For any feasible w, convexity gives `f(w) - f(w*) <= grad f(w) . w - min_k grad f(w)_k`, the duality gap
(Frank-Wolfe gap), which needs no multipliers. It is what `converged` tests.

Rounding. On the simplex a number added to all features of a pair is added to its margin and changes nothing else, so
derivatives are taken of `f_ik - f_i . w`, which is small where columns agree: neither the system nor the gap has to
cancel what all columns share. What is left in the gap is the rounding of the margins; the tolerance allows for it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lore_jax.cholesky import cholesky, solve
from lore_jax.newton import weighted_outer

_TOLERANCE = 1e-6  # nats; more where float32 does not resolve the gap so finely, see `_Look.tolerance`
_TO_THE_WALL = 0.99  # share of the way to the nearest wall that one step may take
_CENTRING = 0.1  # each step aims at this share of the present w . s
_LEAST_WEIGHT = 1e-12  # far below what a margin shows, far above where s / w overflows


class SimplexEstimate(NamedTuple):
    """Where the interior point arrived; every field has the users, if any, in its trailing axes.

    Attributes:
        weights: w, non-negative, summing to 1, `[rank, ...]`.
        gap: upper bound on `f(w) - f(w*)` in nats, `[...]`.
        converged: whether the gap is below a millionth, or as small as float32 can tell, `[...]`.
        steps: how many Newton steps were taken, int32 `[...]`.
        grad_norm: norm of the gradient of f in the softmax logits, `w * (grad f - w . grad f)`, `[...]`.
    """

    weights: jax.Array
    gap: jax.Array
    converged: jax.Array
    steps: jax.Array
    grad_norm: jax.Array


class _Look(NamedTuple):
    """What f looks like at some weights.

    Attributes:
        margin: `f_i . w`, `[shots, ...]`.
        apart: `f_ik - f_i . w`, `[rank, shots, ...]`.
        curvature: second derivative of the share of f of each pair in its margin, `[shots, ...]`.
        gradient: of f, up to a number shared by all columns, `[rank, ...]`.
        gap: the duality gap, `[...]`.
        tolerance: the gap that counts as none: a millionth of a nat, or what float32 may have added to it, `[...]`.
    """

    margin: jax.Array
    apart: jax.Array
    curvature: jax.Array
    gradient: jax.Array
    gap: jax.Array
    tolerance: jax.Array


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
    size = jnp.max(jnp.abs(features), axis=0)

    def look(weights: jax.Array) -> _Look:
        margin = jnp.sum(features * weights[:, None], axis=0)
        apart = features - margin[None]
        lost = jax.nn.sigmoid(-margin)
        pull = share * lost
        gradient = -jnp.sum(apart * pull[None], axis=1)
        gap = jnp.sum(weights * gradient, axis=0) - jnp.min(gradient, axis=0)
        # A term `pull |apart|` of the gradient is off by some units in the last place, and so is `pull`, because its
        # margin is a sum of terms as large as `size`.
        rounding = jnp.sum(pull * jnp.max(jnp.abs(apart), axis=0) * (1.0 + 0.25 * (1.0 - lost) * size), axis=0)
        return _Look(margin, apart, pull * (1.0 - lost), gradient, gap, _TOLERANCE * jnp.maximum(rounding, 1.0))

    def not_done(state: tuple[jax.Array, ...]) -> jax.Array:
        return jnp.any(state[3])

    def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        weights, slack, steps, active = state
        here = look(weights)
        mu = _CENTRING * jnp.mean(weights * slack, axis=0, keepdims=True)
        hessian = weighted_outer(here.apart, here.curvature)
        lower = cholesky(_add_to_diagonal(hessian, slack / weights), least=slack / weights)
        a = solve(lower, mu / weights - here.gradient)
        b = solve(lower, jnp.ones_like(weights))
        towards = a - b * (jnp.sum(a, axis=0, keepdims=True) / jnp.sum(b, axis=0, keepdims=True))
        slack_towards = mu / weights - slack - (slack / weights) * towards
        room = jnp.minimum(_room(weights, towards), _room(slack, slack_towards))
        along = jnp.sum(here.apart * towards[:, None], axis=0)
        rho = jnp.max(jnp.abs(along) * (share > 0), axis=0, initial=1e-6)
        pull = share * jax.nn.sigmoid(-(here.margin + room[None] * along))
        slope = -jnp.sum(pull * along, axis=0) - jnp.sum(mu * towards / (weights + room[None] * towards), axis=0)
        length = jnp.where((slope <= 0) | (rho * room <= 1), room, jnp.minimum(jnp.log1p(rho) / rho, room))
        moved = jnp.maximum(weights + length[None] * towards, _LEAST_WEIGHT)
        moved = moved / jnp.sum(moved, axis=0, keepdims=True)
        there, steps = look(moved), steps + active
        return (
            jnp.where(active[None], moved, weights),
            jnp.where(active[None], slack + length[None] * slack_towards, slack),
            steps,
            # Half of what is allowed: compiled outside the loop, the same gap may round differently.
            active & (there.gap > 0.5 * there.tolerance) & (steps < max_steps),
        )

    start = jnp.full((rank, *features.shape[2:]), 1.0 / rank)
    here = look(start)
    lowest = jnp.min(here.gradient, axis=0, keepdims=True)
    slack = here.gradient - lowest + jnp.maximum(jnp.max(here.gradient, axis=0, keepdims=True) - lowest, 1e-12)
    active = here.gap > here.tolerance
    init = (start, slack, jnp.zeros(active.shape, jnp.int32), active)
    weights, _, steps, _ = jax.lax.while_loop(not_done, step, init)
    here = look(weights)
    in_logits = weights * (here.gradient - jnp.sum(weights * here.gradient, axis=0, keepdims=True))
    grad_norm = jnp.sqrt(jnp.sum(in_logits**2, axis=0))
    return SimplexEstimate(weights, here.gap, here.gap <= here.tolerance, steps, grad_norm)


def _add_to_diagonal(matrix: jax.Array, diagonal: jax.Array) -> jax.Array:
    eye = jnp.eye(matrix.shape[0]).reshape(*matrix.shape[:2], *[1] * (matrix.ndim - 2))
    return matrix + eye * diagonal[:, None]


def _room(position: jax.Array, direction: jax.Array) -> jax.Array:
    """The longest step in `(0, 1]` that keeps a positive `position [rank, ...]` positive, `[...]`."""
    to_wall = jnp.where(direction < 0, -position / jnp.where(direction < 0, direction, -1.0), jnp.inf)
    return jnp.minimum(1.0, _TO_THE_WALL * jnp.min(to_wall, axis=0))
