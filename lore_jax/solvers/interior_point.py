"""One user's weights on the simplex: the optimum of a convex problem, with a certificate.

With the basis frozen the paper's few-shot objective, in the weights themselves,

    minimise  f(w) = sum_i c_i loss(f_i . w)      subject to  w >= 0,  sum_k w_k = 1,

is convex of size rank. Its optimum usually lies on a face (some weights exactly 0), where the
softmax logits of the published fit run to minus infinity: no number of gradient steps gets there,
and a gradient in the logits vanishes everywhere on the way. A primal-dual interior point takes
about ten steps.

Newton step. With multipliers `s >= 0` of `w >= 0` and v of the sum, the perturbed optimality
conditions are

    grad f(w) - s + v 1 = 0,     w_k s_k = mu,     sum_k w_k = 1.

Linearised, and ds eliminated by `ds = mu / w - s - (s / w) dw`:

    (H + diag(s / w)) dw + v 1 = mu / w - grad f(w),     sum_k dw_k = 0,

one Cholesky factorisation of size rank and two substitutions, a and b, for the right-hand sides
above and 1: `v = sum a / sum b`, `dw = a - v b`.

Step length. What remains of the way to the walls (`w > 0`, `s > 0`) is taken whole if the barrier
problem `f(w) - mu sum_k log w_k` still falls at its end, for then, being convex, it fell all the
way. Otherwise the step is damped as in `newton.py`.

Certificate. For any feasible w, convexity gives `f(w) - f(w*) <= grad f(w) . w - min_k grad
f(w)_k`, the duality gap (Frank-Wolfe gap), which needs no multipliers. It is what `converged`
tests.

Rounding. On the simplex a number added to all features of a pair is added to its margin and changes
nothing else, so derivatives are taken of `f_ik - f_i . w`, which is small where columns agree:
neither the system nor the gap has to cancel what all columns share. What is left in the gap is the
rounding of the margins; the tolerance allows for it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lore_jax.solvers.cholesky import cholesky, solve
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood, step_length
from lore_jax.solvers.pair_sums import combine, sums_over_pairs

_TOLERANCE = 1e-6  # nats; more where float32 does not resolve the gap so finely
_TO_THE_WALL = 0.99  # share of the way to the nearest wall that one step may take
# Of the largest gradient there can be: about its spread at the centre of the simplex.
_FIRST_SLACK = 0.25
_CENTRING = 0.1  # each step aims at this share of the present w . s
_TINY = 1e-30
_LEAST_WEIGHT = 1e-12  # far below what a margin shows, far above where s / w overflows


class SimplexEstimate(NamedTuple):
    """Where the interior point arrived; every field has the users, if any, in its trailing axes.

    Attributes:
        weights: w, non-negative, summing to 1, `[rank, ...]`.
        gap: upper bound on `f(w) - f(w*)` in nats, `[...]`.
        converged: whether the gap is below a millionth, or as small as float32 can tell, `[...]`.
        steps: how many Newton steps were taken, int32 `[...]`.
        grad_norm: norm of the gradient of f in the softmax logits, `w * (grad f - w . grad f)`,
            `[...]`.
    """

    weights: jax.Array
    gap: jax.Array
    converged: jax.Array
    steps: jax.Array
    grad_norm: jax.Array


def simplex_estimate(
    features: jax.Array,
    pair_weight: jax.Array,
    *,
    likelihood: Likelihood = LOGISTIC,
    max_steps: int = 40,
) -> SimplexEstimate:
    """The weights on the simplex that minimise a user's mean loss.

    `argmin_{w in simplex} sum_i c_i loss(f_i . w) / sum_i c_i`

    Args:
        features: f, differences of the rewards of a pair divided by the temperature, `[rank, shots,
            ...]`.
        pair_weight: c, how much a pair counts, 0 for padding, `[shots, ...]`.
        likelihood: whose loss.
        max_steps: the most steps to take.

    Returns:
        A `SimplexEstimate`; with users in a trailing axis, one estimate a user. Never raises: see
        its `converged`.

    Example:
        >>> one = simplex_estimate(jnp.array([[1.0, 1.0], [-1.0, 0.5]]), jnp.ones(2))
        >>> one.weights.round(3)
        Array([1., 0.], dtype=float32)

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 5; Boyd and Vandenberghe 2004, "Convex
        optimization", section 11.7; Jaggi 2013, "Revisiting Frank-Wolfe" (the gap).
    """
    rank = features.shape[0]
    total = jnp.sum(pair_weight, axis=0, keepdims=True)
    share = pair_weight / jnp.where(total > 0, total, 1.0)
    size = jnp.max(jnp.abs(features), axis=0)

    def not_done(search: _Search) -> jax.Array:
        return jnp.any(search.active)

    def step(search: _Search) -> _Search:
        weights, slack = _summing_to_one(search.weights), search.slack
        margin = combine(features, weights)
        apart = features - margin[None]
        pull = -share * likelihood.slope(margin)
        curvature = share * likelihood.curvature(margin)
        towards_chosen, hessian = sums_over_pairs(apart, pull, curvature)
        gradient = -towards_chosen
        mean_gradient = jnp.sum(weights * gradient, axis=0)
        gap = mean_gradient - jnp.min(gradient, axis=0)
        # A term `pull |apart|` of the gradient is off by some units in the last place, and so is
        # `pull`, because its margin is a sum of terms as large as `size`.
        rounding = jnp.sum(
            (jnp.abs(pull) + 0.25 * curvature * size) * jnp.max(jnp.abs(apart), axis=0), axis=0
        )
        tolerance = _TOLERANCE * jnp.maximum(rounding, 1.0)
        grad_norm = jnp.sqrt(jnp.sum((weights * (gradient - mean_gradient[None])) ** 2, axis=0))

        mu = _CENTRING * jnp.mean(weights * slack, axis=0, keepdims=True)
        lower = cholesky(_add_to_diagonal(hessian, slack / weights), least=slack / weights)
        a = solve(lower, mu / weights - gradient)
        b = solve(lower, jnp.ones_like(weights))
        towards = a - b * (jnp.sum(a, axis=0, keepdims=True) / jnp.sum(b, axis=0, keepdims=True))
        slack_towards = mu / weights - slack - (slack / weights) * towards
        room = jnp.minimum(_room(weights, towards), _room(slack, slack_towards))
        along = combine(apart, towards)
        move = jnp.max(jnp.abs(along) * (share > 0), axis=0, initial=1e-6)
        pull = -share * likelihood.slope(margin + room[None] * along)
        slope = -jnp.sum(pull * along, axis=0) - jnp.sum(
            mu * towards / (weights + room[None] * towards), axis=0
        )
        walls = jnp.sum(slack / weights * towards**2, axis=0)
        parabola = likelihood.ceiling * jnp.sum(share * along**2, axis=0) + walls
        safe = (jnp.sum(curvature * along**2, axis=0) + walls) / jnp.maximum(parabola, _TINY)
        damped = jnp.minimum(step_length(likelihood, move, safe), room)
        length = jnp.where(slope <= 0, room, damped)
        moved = jnp.maximum(weights + length[None] * towards, _LEAST_WEIGHT)

        going = search.active & (gap > tolerance) & (search.steps < max_steps)
        return _Search(
            weights=jnp.where(going[None], moved, search.weights),
            slack=jnp.where(going[None], slack + length[None] * slack_towards, slack),
            steps=search.steps + going,
            active=going,
            gap=jnp.where(search.active, gap, search.gap),
            reached=jnp.where(search.active, gap <= tolerance, search.reached),
            grad_norm=jnp.where(search.active, grad_norm, search.grad_norm),
        )

    # The last evaluation is the one at the point returned, as in `newton.py`.
    users = features.shape[2:]
    final = jax.lax.while_loop(
        not_done,
        step,
        _Search(
            weights=jnp.full((rank, *users), 1.0 / rank),
            slack=jnp.broadcast_to(
                jnp.maximum(_FIRST_SLACK * jnp.sum(share * size, axis=0), 1e-12), (rank, *users)
            ),
            steps=jnp.zeros(users, jnp.int32),
            active=jnp.ones(users, bool),
            gap=jnp.full(users, jnp.inf),
            reached=jnp.zeros(users, bool),
            grad_norm=jnp.full(users, jnp.inf),
        ),
    )
    weights = _summing_to_one(final.weights)
    weights = jnp.where(jnp.isnan(final.gap)[None], jnp.nan, weights)  # a NaN stays visible
    return SimplexEstimate(weights, final.gap, final.reached, final.steps, final.grad_norm)


class _Search(NamedTuple):
    weights: jax.Array
    slack: jax.Array
    steps: jax.Array
    active: jax.Array
    gap: jax.Array
    reached: jax.Array
    grad_norm: jax.Array


def _summing_to_one(weights: jax.Array) -> jax.Array:
    """What a step left, divided by its sum.

    Not where the step ends: a compiler may work out the step once for the weights and again for
    their sum, and round it differently, which shows where it is a difference of large numbers.
    """
    return weights / jnp.sum(weights, axis=0, keepdims=True)


def _add_to_diagonal(matrix: jax.Array, diagonal: jax.Array) -> jax.Array:
    eye = jnp.eye(matrix.shape[0]).reshape(*matrix.shape[:2], *[1] * (matrix.ndim - 2))
    return matrix + eye * diagonal[:, None]


def _room(position: jax.Array, direction: jax.Array) -> jax.Array:
    """The longest step in `(0, 1]` that keeps `position [rank, ...]` positive."""
    to_wall = jnp.where(
        direction < 0, -position / jnp.where(direction < 0, direction, -1.0), jnp.inf
    )
    return jnp.minimum(1.0, _TO_THE_WALL * jnp.min(to_wall, axis=0))
