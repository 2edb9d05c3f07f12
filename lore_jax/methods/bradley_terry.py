"""Bradley-Terry with a ridge: one direction for everybody, a convex problem solved to its optimum.

    minimise over v, b   sum_i c_i loss(z_i) + ridge (|v|^2 + |b|^2),
    z_i = difference over the pair of  v . e / input_scale + c b[response]

It is rank 1 of LoRe, the baseline that personalisation has to beat, and where the population model
starts.

Newton's direction is found by conjugate gradients, whose every iteration is one product with the
table and one with its transpose: nothing of size dim x dim is formed, and ridges and folds vmap.
Rewards are linear in (v, b), so those of the direction and of the next estimate are sums of what
the iterations have computed, and the only other product of a step is the gradient's.
Where the principal axes of the table are known, A with mean squares m, they are preconditioned by
what the Hessian would be if the responses of a pair had nothing in common,

    A diag(D m / input_scale^2 + 2 ridge) A'  of v,       c^2 degree_r + 2 ridge  of b_r,

degree_r being the curvature of all pairs of response r, and D their sum: it is then solved in a
third to a twentieth of the time.

Where many users made the same comparisons, each is passed over once (`parallel/distinct_pairs.py`).
Step length and stopping are those of `newton.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, Stage
from lore_jax.methods.checks import check_positive
from lore_jax.methods.shared_direction import Direction, SharedDirection, product
from lore_jax.parallel.buckets import FitData, UserBucket, add_to_rows, over_users
from lore_jax.parallel.devices import largest, total
from lore_jax.parallel.principal_axes import PrincipalAxes
from lore_jax.parallel.table_rows import map_rows, sum_over_rows
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood, step_length

RIDGES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)  # the most regularised first: so ties are broken

_CG_STEPS = 40  # per Newton step; an inexact direction costs another Newton step, never the optimum
_CG_TOLERANCE = 3e-2
# Newton decrement: the loss is then within a millionth of a nat, over all pairs, of its minimum.
_TOLERANCE = 1e-3


class BradleyTerryEstimate(NamedTuple):
    """Where the solve arrived.

    Attributes:
        direction: v, `[dim]`.
        item_effects: b, `[responses]`; 0 for responses in no pair.
        rewards: of the table's responses, `[responses]`.
        converged: whether the Newton decrement fell below a thousandth.
        steps: Newton steps taken, int32.
        grad_norm: Euclidean norm of the gradient of the sum at the last step but one.
    """

    direction: Float[Array, " dim"]
    item_effects: Float[Array, " responses"]
    rewards: Float[Array, " responses"]
    converged: Bool[Array, ""]
    steps: Int32[Array, ""]
    grad_norm: Float[Array, ""]


class _Theta(NamedTuple):
    direction: Array
    item_effects: Array


def bradley_terry(
    data: FitData,
    ridge: Float[Array, ""],
    item_effects: Float[Array, "*#responses"],
    *,
    likelihood: Likelihood = LOGISTIC,
    max_steps: int = 100,
) -> BradleyTerryEstimate:
    """Ridge Bradley-Terry on one shard's data, in concert with the other shards.

    Args:
        data: one shard (`devices.over_shards`).
        ridge: the ridge in units of pairs, a traced number.
        item_effects: c, the size of the item effects, of all responses or of each; 0 gives plain
            ridge Bradley-Terry.
        likelihood: whose loss.
        max_steps: the most Newton steps to take.

    Returns:
        The estimate, the same on every shard. Never raises: see `converged`.

    Reference:
        Bradley and Terry 1952; Bose et al. 2025, arXiv 2504.14439, rank 1.
    """
    rows, dim = data.embeddings.shape
    buckets = data.pairs_of_everybody
    zeros = _Theta(jnp.zeros(dim), jnp.zeros(rows))

    def rewards(theta: _Theta) -> Float[Array, " responses"]:
        along = map_rows(product, theta.direction / data.input_scale, data.embeddings)
        return along + item_effects * theta.item_effects

    def back(pull: Float[Array, " responses"], theta: _Theta) -> _Theta:
        """From what is pulled at rewards to (v, b), the ridge's gradient with it."""
        pull = total(pull)
        along = sum_over_rows(product, zeros.direction, data.embeddings, pull) / data.input_scale
        pulled = _Theta(along, item_effects * pull)
        return jax.tree.map(lambda leaf, x: leaf + 2.0 * ridge * x, pulled, theta)

    def over_pairs(work: Callable[..., Array], start: Array | float, *per_pair: Any) -> Array:
        """`work(carry, bucket, *per_pair)` of all buckets, pairs of some users at a time."""

        def part(carry: Array, *users: Any) -> tuple[Array, None]:
            return work(carry, *users), None

        carry = jnp.asarray(start)
        for users in zip(buckets, *per_pair, strict=True):
            carry, _ = over_users(part, carry, *users)
        return carry

    def not_done(state: _Search) -> Array:
        return (state.decrement > _TOLERANCE) & (state.steps < max_steps)

    def step(state: _Search) -> _Search:
        here = state.rewards

        def add_slopes(pull: Array, bucket: UserBucket) -> Array:
            slopes = likelihood.slope(margins(here, bucket))
            return add_to_rows(pull, bucket, jnp.asarray(bucket.pair_weight) * slopes)

        def curvature(_: None, bucket: UserBucket) -> tuple[None, Array]:
            second = likelihood.curvature(margins(here, bucket))
            return None, jnp.asarray(bucket.pair_weight) * second

        gradient = back(over_pairs(add_slopes, zeros.item_effects), state.theta)
        curvatures = [over_users(curvature, None, bucket)[1] for bucket in buckets]

        def hessian(vector: _Theta) -> tuple[Array, _Theta]:
            along = rewards(vector)

            def add(pull: Array, bucket: UserBucket, h: Array) -> Array:
                return add_to_rows(pull, bucket, h * margins(along, bucket))

            return along, back(over_pairs(add, zeros.item_effects, curvatures), vector)

        def preconditioner(principal: PrincipalAxes) -> Callable[[_Theta], _Theta]:
            def add(degree: Array, bucket: UserBucket, h: Array) -> Array:
                return degree.at[bucket.chosen].add(h).at[bucket.rejected].add(h)

            degree = total(over_pairs(add, zeros.item_effects, curvatures))
            axes = jnp.asarray(principal.axes)
            along = jnp.sum(degree) * principal.squared / data.input_scale**2 + 2.0 * ridge
            own = item_effects**2 * degree + 2.0 * ridge

            def precondition(vector: _Theta) -> _Theta:
                turned = axes @ ((vector.direction @ axes) / along)
                return _Theta(turned, vector.item_effects / own)

            return precondition

        negative = jax.tree.map(jnp.negative, gradient)
        m = _unchanged if data.principal is None else preconditioner(data.principal)
        towards, along = _conjugate_gradients(hessian, negative, m)
        squared = jnp.maximum(-_dot(gradient, towards), 0.0)

        def longest(so_far: Array, bucket: UserBucket) -> Array:
            moves = jnp.abs(margins(along, bucket)) * (bucket.pair_weight > 0)
            return jnp.maximum(so_far, jnp.max(moves, initial=0.0))

        def second(so_far: Array, bucket: UserBucket) -> Array:
            return so_far + jnp.sum(bucket.pair_weight * margins(along, bucket) ** 2)

        move = largest(over_pairs(longest, 1e-6))
        parabola = likelihood.ceiling * total(over_pairs(second, 0.0))
        safe = squared / (parabola + 2.0 * ridge * _dot(towards, towards))

        def slope(share: Array) -> Array:
            def add(so_far: Array, bucket: UserBucket) -> Array:
                change = margins(along, bucket)
                ends = likelihood.slope(margins(here, bucket) + share * change)
                return so_far + jnp.sum(bucket.pair_weight * ends * change)

            after = _moved(state.theta, share, towards)
            return (total(over_pairs(add, 0.0)) + 2.0 * ridge * _dot(after, towards)) / squared

        length = step_length(likelihood, move, safe, slope)
        theta = _moved(state.theta, length, towards)
        norm = jnp.sqrt(_dot(gradient, gradient))
        return _Search(theta, here + length * along, jnp.sqrt(squared), state.steps + 1, norm)

    start = _Search(
        theta=zeros,
        rewards=zeros.item_effects,
        decrement=jnp.asarray(jnp.inf),
        steps=jnp.zeros((), jnp.int32),
        grad_norm=jnp.zeros(()),
    )
    end = jax.lax.while_loop(not_done, step, start)
    found = end.decrement <= _TOLERANCE
    return BradleyTerryEstimate(*end.theta, end.rewards, found, end.steps, end.grad_norm)


class _Search(NamedTuple):
    theta: _Theta
    rewards: Array
    decrement: Array
    steps: Array
    grad_norm: Array


class _Iterate(NamedTuple):
    theta: _Theta  # of the direction sought
    rewards: Array
    residual: _Theta
    search: _Theta
    squared: Array  # residual . preconditioned residual
    count: Array


def _conjugate_gradients(
    hessian: Callable[[_Theta], tuple[Array, _Theta]],
    target: _Theta,
    precondition: Callable[[_Theta], _Theta],
) -> tuple[_Theta, Array]:
    """About `H^-1 target`, and its rewards; `hessian(x)` is the rewards of x, and `H x`."""
    enough = _CG_TOLERANCE**2 * _dot(target, target)

    def not_done(at: _Iterate) -> Array:
        return (_dot(at.residual, at.residual) > enough) & (at.count < _CG_STEPS)

    def iterate(at: _Iterate) -> _Iterate:
        along, bent = hessian(at.search)
        length = at.squared / _dot(at.search, bent)
        residual = _moved(at.residual, -length, bent)
        better = precondition(residual)
        squared = _dot(residual, better)
        return _Iterate(
            theta=_moved(at.theta, length, at.search),
            rewards=at.rewards + length * along,
            residual=residual,
            search=_moved(better, squared / at.squared, at.search),
            squared=squared,
            count=at.count + 1,
        )

    better = precondition(target)
    zeros, nothing = jax.tree.map(jnp.zeros_like, target), jnp.zeros_like(target.item_effects)
    count = jnp.zeros((), jnp.int32)
    start = _Iterate(zeros, nothing, target, better, _dot(target, better), count)
    end = jax.lax.while_loop(not_done, iterate, start)
    return end.theta, end.rewards


def _unchanged(vector: _Theta) -> _Theta:
    return vector


def _moved(start: _Theta, length: Array, towards: _Theta) -> _Theta:
    return jax.tree.map(lambda x, d: x + length * d, start, towards)


def _dot(left: _Theta, right: _Theta) -> Array:
    return jnp.sum(left.direction * right.direction) + jnp.sum(
        left.item_effects * right.item_effects
    )


def margins(rewards: Float[Array, " responses"], bucket: UserBucket) -> Float[Array, "shots users"]:
    """Differences of rewards that are numbers."""
    return rewards[bucket.chosen] - rewards[bucket.rejected]


@dataclasses.dataclass(frozen=True)
class BradleyTerryConfig(SharedDirection):
    """One direction for everybody: the baseline that personalising has to beat.

    Attributes:
        ridge: ridge on the direction, in units of pairs; None: chosen on validation.
        likelihood: how probable a choice is, given its margin.
    """

    ridge: float | None = None
    likelihood: Likelihood = LOGISTIC

    def __post_init__(self) -> None:
        check_positive(self, "ridge")

    def stages(self, prefs: Preferences) -> list[Stage]:
        """The ridge."""
        ridges = RIDGES if self.ridge is None else (self.ridge,)
        candidates: list[Choice] = [{"ridge": ridge} for ridge in ridges]
        return [Stage("ridge", self, tuple(candidates), open_ended=("ridge",))]

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Float[Array, ""]]:
        """The ridge."""
        return [jnp.float32(choice["ridge"]) for choice in choices]

    @property
    def streams_table(self) -> bool:
        """Embeddings are touched by products alone."""
        return True

    @property
    def by_inner_products(self) -> bool:
        """A direction with a ridge is fitted so."""
        return True

    def init(self, data: FitData, hyper: Float[Array, ""], *, key: jax.Array) -> Direction:
        """The optimum."""
        sizes = jnp.zeros(1)
        if data.outside is not None:
            sizes = jnp.sqrt(data.outside) / data.input_scale
        solved = bradley_terry(data, hyper, sizes, likelihood=self.likelihood)
        return Direction(solved.direction, sizes * solved.item_effects)
