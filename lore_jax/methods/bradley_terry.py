"""Bradley-Terry with a ridge: one direction for everybody, a convex problem solved to its optimum.

    minimise over v, b   sum_i c_i log(1 + exp(-z_i)) + ridge (|v|^2 + |b|^2),
    z_i = difference over the pair of  v . e / input_scale + c b[response]

It is rank 1 of LoRe, the baseline that personalisation has to beat, and where the population model
starts.

Newton's direction is found by conjugate gradients, whose every iteration is one product with the
table and one with its transpose: nothing of size dim x dim is formed, and ridges and folds vmap.
Step length and stopping are those of `newton.py`: the same bound holds for any logistic loss.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from lore_jax.parallel.buckets import FitData, UserBucket
from lore_jax.parallel.devices import largest, total

_CG_STEPS = 40  # per Newton step; an inexact direction costs another Newton step, never the optimum
_CG_TOLERANCE = 3e-2
# Newton decrement: the loss is then within a millionth of a nat, summed over all pairs, of its
# minimum
_TOLERANCE = 1e-3


class BradleyTerryEstimate(NamedTuple):
    """Where the solve arrived.

    Attributes:
        direction: v, `[dim]`.
        terms: b, the item effects, `[responses]`; 0 for responses in no pair.
        converged: whether the Newton decrement fell below a thousandth.
        steps: Newton steps taken, int32.
        grad_norm: Euclidean norm of the gradient of the sum at the last step but one.
    """

    direction: jax.Array
    terms: jax.Array
    converged: jax.Array
    steps: jax.Array
    grad_norm: jax.Array


def bradley_terry(
    data: FitData, ridge: jax.Array, item_effects: jax.Array, *, max_steps: int = 100
) -> BradleyTerryEstimate:
    """Ridge Bradley-Terry on one shard's data, in concert with the other shards
    (`sharding.over_shards`).

    Args:
        data: one shard.
        ridge: the ridge in units of pairs, a traced number.
        item_effects: c, the size of the item effects; 0 gives plain ridge Bradley-Terry.
        max_steps: the most Newton steps to take.

    Returns:
        The estimate, the same on every shard. Never raises: see `converged`.

    Reference:
        Bradley and Terry 1952; Bose et al. 2025, arXiv 2504.14439, rank 1.
    """
    shape = jax.ShapeDtypeStruct
    rows, dim = data.embeddings.shape
    like = (shape((dim,), jnp.float32), shape((rows,), jnp.float32))

    def margins(theta: tuple[jax.Array, jax.Array]) -> list[jax.Array]:
        direction, terms = theta
        scaled = direction / data.input_scale
        table = (
            jnp.matmul(data.embeddings, scaled, preferred_element_type=jnp.float32)
            + item_effects * terms
        )
        return [table[bucket.chosen] - table[bucket.rejected] for bucket in data.buckets]

    # Margins are linear in (v, b), so their transpose, from pair values back to (v, b), is one
    # function for all steps.
    transpose = jax.linear_transpose(margins, like)

    def back(values: list[jax.Array], theta: Any) -> Any:
        (summed,) = transpose(values)
        return jax.tree.map(lambda leaf, x: leaf + 2.0 * ridge * x, total(summed), theta)

    def not_done(state: tuple[Any, ...]) -> jax.Array:
        _, decrement, steps, _ = state
        return (decrement > _TOLERANCE) & (steps < max_steps)

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        theta, _, steps, _ = state
        lost = [jax.nn.sigmoid(-margin) for margin in margins(theta)]
        pull = [bucket.pair_weight * p for bucket, p in zip(data.buckets, lost, strict=True)]
        gradient = back([-value for value in pull], theta)
        curvature = [value * (1.0 - p) for value, p in zip(pull, lost, strict=True)]

        def hessian(vector: Any) -> Any:
            return back(
                [h * margin for h, margin in zip(curvature, margins(vector), strict=True)], vector
            )

        towards, _ = cg(
            hessian, jax.tree.map(jnp.negative, gradient), tol=_CG_TOLERANCE, maxiter=_CG_STEPS
        )
        decrement = jnp.sqrt(jnp.maximum(-_dot(gradient, towards), 0.0))
        rho = largest(_largest_move(margins(towards), data.buckets))
        length = jnp.log1p(rho) / rho
        moved = jax.tree.map(lambda x, d: x + length * d, theta, towards)
        return moved, decrement, steps + 1, jnp.sqrt(_dot(gradient, gradient))

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    init = (zeros, jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32), jnp.zeros(()))
    (direction, terms), decrement, steps, grad_norm = jax.lax.while_loop(not_done, step, init)
    return BradleyTerryEstimate(direction, terms, decrement <= _TOLERANCE, steps, grad_norm)


def _dot(left: Any, right: Any) -> jax.Array:
    return sum(
        jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), left, right)), jnp.zeros(())
    )


def _largest_move(margins: list[jax.Array], buckets: tuple[UserBucket, ...]) -> jax.Array:
    moves = [
        jnp.max(jnp.abs(m) * (b.pair_weight > 0), initial=1e-6)
        for m, b in zip(margins, buckets, strict=True)
    ]
    return jnp.max(jnp.stack(moves))
