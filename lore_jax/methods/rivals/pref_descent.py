"""PReF's joint descent on pair factors and user factors, with the steps to stop at kept.

    mean over pairs of loss(z)  +  .02 mean over users of |lambda_u|^2,    z = lambda_u . Phi' x

by Adam. Nothing holds Phi but where the descent stops, so validation chooses the steps, of one
fit's snapshots.

Reference:
    Shenfeld et al. 2025, arXiv 2503.06358, section 3.1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from lore_jax.methods.base import Info
from lore_jax.methods.rivals.pref_start import Factors
from lore_jax.methods.rivals.snapshots import first_snapshots, with_snapshot
from lore_jax.parallel.buckets import FitData, features
from lore_jax.parallel.devices import total
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.likelihood import LOGISTIC

STEPS = (30, 100, 300)

_L2 = 0.02


class Shared(NamedTuple):
    """What all users share of the factors; snapshots in a leading axis.

    Attributes:
        phi: Phi, `[dim, k]`.
        mean: of the vectors of users with an answer, `[k]`.
    """

    phi: Float[Array, "*stops dim k"]
    mean: Float[Array, "*stops k"]


@pytree
class PReFState:
    """What the next step needs.

    Attributes:
        factors: where the descent is.
        optimiser: Adam's state.
        count: the steps taken.
        snapshots: after each of `STEPS`.
    """

    factors: Factors
    optimiser: optax.OptState
    count: Int[Array, "*shards"]
    snapshots: Shared


def first_state(factors: Factors, data: FitData, learning_rate: float) -> PReFState:
    """The state before the first step."""
    moved: PyTree = factors
    return PReFState(
        factors,
        optax.adam(learning_rate).init(moved),
        jnp.zeros((), jnp.int32),
        first_snapshots(shared(factors, data), STEPS),
    )


def descent_step(state: PReFState, data: FitData, learning_rate: float) -> tuple[PReFState, Info]:
    """One step of Adam."""
    before: PyTree = state.factors
    loss, gradient = jax.value_and_grad(_objective)(before, data)
    loss, phi = total((loss, gradient.phi))
    gradient = gradient._replace(phi=phi)
    updates, optimiser = optax.adam(learning_rate).update(gradient, state.optimiser)
    factors: PyTree = optax.apply_updates(before, updates)
    count = state.count + 1
    snapshots = with_snapshot(state.snapshots, shared(factors, data), count, STEPS)
    info = Info(loss, jnp.sqrt(jnp.sum(phi**2)))
    return PReFState(factors, optimiser, count, snapshots), info


def shared(factors: Factors, data: FitData) -> Shared:
    """Phi, and the mean of the vectors of users with an answer."""
    users = zip(factors.users.buckets, _judging(data), strict=True)
    summed = [(jnp.asarray(own) @ one, jnp.sum(one)) for own, one in users]
    vectors, count = total(jax.tree.map(lambda *parts: sum(parts), *summed))
    return Shared(factors.phi, vectors / count)


def _weights(data: FitData) -> list[Float[Array, "shots users"]]:
    return [jnp.asarray(bucket.pair_weight) for bucket in data.buckets]


def _judging(data: FitData) -> list[Float[Array, " users"]]:
    """1 for users with an answer."""
    return [jnp.any(weight > 0, axis=0).astype(jnp.float32) for weight in _weights(data)]


def _objective(factors: Factors, data: FitData) -> Float[Array, ""]:
    """This shard's part of the objective."""
    weights, judging = _weights(data), _judging(data)
    pairs, users = total((sum(map(jnp.sum, weights)), sum(map(jnp.sum, judging))))
    table = jnp.matmul(
        data.table, factors.phi / data.input_scale, preferred_element_type=jnp.float32
    )
    loss = jnp.zeros(())
    for bucket, weight, one, own in zip(
        data.buckets, weights, judging, map(jnp.asarray, factors.users.buckets), strict=True
    ):
        along = features(table, bucket)
        margin = sum((along[a] * own[a][None] for a in range(len(along))), jnp.zeros_like(weight))
        loss += jnp.sum(weight * LOGISTIC.loss(margin)) / pairs
        loss += _L2 * jnp.sum(one[None] * own**2) / users
    return loss
