"""Simplex weights: the paper's joint fit of basis and weights, and its later published variant.

    minimise over V, l   sum_u mean over u's pairs of loss(z),
    z = f . w_u / temperature,  w_u = softmax(l_u)

by Adam on V and the logits l together, both starting at N(0, 1). There is no prior: somebody of
whom nothing is known gets the mean of the others' weights.

The later variant pools the loss over pairs, steps first the logits and then V, and ties the columns
of V to the reference head by `alpha mean_k (1 - cos(V_k, v_ref))`. Columns that nobody weighs are
dropped at the end, and the weights on the others are made to sum to 1 again.

In minibatches. A step may be taken on one minibatch of the table (`minibatches.py`) and the pairs
within it, whose losses, times the number of minibatches, estimate the objective without bias. As
many steps as there are minibatches then cost what one step on everything costs, and 34 of these
epochs reach the training loss of the paper's 1,000 steps, or stop within .002 nats of it.
(Quasi-Newton steps in whitened coordinates reach that loss as quickly, by fitting noise along the
weak directions of the embeddings: their accuracy on new pairs was near chance.)

The gradient goes through the table of rewards, so a step passes twice over the embeddings, whatever
the number of pairs. A user's logits, and Adam's moments of them, live beside the user's pairs and
never leave their shard.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from lore_jax.methods.base import Info
from lore_jax.methods.simplex.anchor import anchor_penalty, anchor_schedule
from lore_jax.methods.simplex.config import SimplexSettings
from lore_jax.methods.simplex.softmax import loss_and_gradients, weights_of
from lore_jax.model.basis import Params, apply_to_table, take_columns
from lore_jax.parallel.buckets import FitData, Layout, PerUser, features
from lore_jax.parallel.devices import first_shard, on_host, total
from lore_jax.parallel.pytree import pytree, static

# In mini-batches only; `benchmarks/README.md` has the measurements. Of V's rate: a user has a pair
# or two in a mini-batch, and the gradient of the logits is mostly noise.
_LOGITS_RATE = 0.05
# Adam forgets squares within an epoch, because gradients shrink by orders of magnitude.
_SQUARES = 0.98


@pytree
class SimplexHyper:
    """What may differ between fits of one program: a sweep over ranks is a vmap over it.

    Attributes:
        columns: 1 for the columns in use, 0 for the others, whose weights are 0 for everybody.
        head: the reference head, which the anchor needs; None: no head.
        num_users: the number of users, whose logits are drawn in their order, whatever the devices.
    """

    columns: Float[Array, " rank"]
    head: Float[Array, " dim"] | None = None
    num_users: int = static(default=0)


@pytree
class SimplexState:
    """What the next step needs; leaves belong to one shard.

    Attributes:
        params: the Flax parameters of the basis.
        logits: l, `[rank, users]`.
        optimiser: Adam's state for `params` and for `logits`.
    """

    params: Params
    logits: PerUser
    optimiser: tuple[PyTree, PyTree]


class SimplexFit(NamedTuple):
    """What a fit leaves behind, on the host.

    Attributes:
        params: the parameters of the basis, the last layer cut to the columns kept.
        weights: w, non-negative, summing to 1, `[num_users, kept]`; the mean of the others for
            users without pairs.
        columns: which columns were kept, int `[kept]`.
        mean: mean weights of the users with pairs, `[kept]`: the weights of anybody else.
    """

    params: Params
    weights: Float[np.ndarray, "num_users kept"]
    columns: Int[np.ndarray, " kept"]
    mean: Float[np.ndarray, " kept"]


def draw_logits(
    config: SimplexSettings, num_users: int, rank: int, *, key: jax.Array
) -> Float[Array, "num_users rank"]:
    """The logits every user starts at, drawn in the order of users, whatever the devices."""
    draw = jax.random.uniform if config.uniform_logits else jax.random.normal
    return draw(key, (num_users, rank), jnp.float32)


def init(config: SimplexSettings, params: Params, logits: PerUser, data: FitData) -> SimplexState:
    """The state before the first step.

    Args:
        config: how the fit runs.
        params: initial parameters of the basis; the paper draws V from N(0, 1).
        logits: initial logits, `[rank, users]`.
        data: one shard.

    Returns:
        The state of one shard.

    Raises:
        ValueError: the anchor is asked of a basis that is not linear; or pruning could leave a user
            without columns.
    """
    rank = params["V"].shape[-1]
    if config.prune * rank >= 1.0:
        raise ValueError(
            f"prune is {config.prune}: less than 1 / rank = {1 / rank} is expected, "
            "or users lose all columns"
        )
    if config.anchor and (len(params) > 1 or params["V"].shape[0] != data.embeddings.shape[-1]):
        raise ValueError(
            f"anchor is {config.anchor}: only a linear basis has directions to compare with a head"
        )
    of_params, of_logits = _optimisers(config)
    trees: tuple[PyTree, PyTree] = params, logits
    return SimplexState(params, logits, (of_params.init(trees[0]), of_logits.init(trees[1])))


def _optimisers(
    config: SimplexSettings,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """For the basis and for the logits."""
    if config.num_minibatches == 1:
        return optax.adam(config.learning_rate), optax.adam(config.learning_rate)
    rates = (config.learning_rate, _LOGITS_RATE * config.learning_rate)
    of_params, of_logits = (
        optax.adam(optax.linear_schedule(rate, 0.0, config.steps), b2=_SQUARES) for rate in rates
    )
    return of_params, of_logits


def step(
    state: SimplexState,
    data: FitData,
    hyper: SimplexHyper,
    *,
    module: nn.Module,
    config: SimplexSettings,
) -> tuple[SimplexState, Info]:
    """One Adam step on the basis and on everybody's logits, for one shard.

    Args:
        state: the shard's state.
        data: the shard's data.
        hyper: columns in use, and the reference head.
        module: the basis (static).
        config: how the fit runs (static).

    Returns:
        The next state, and for the history the mean over users of each user's mean loss (pooled:
        over pairs) without the anchor, at the logits that V was stepped at, in nats, and the norm
        of the gradient of all that was stepped. Of a mini-batch both are the mini-batch's own.

    Raises:
        ValueError: an anchor is asked for and there is no head.

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 4.
    """
    of_params, of_users = _optimisers(config)
    shares = _shares(data, config)

    def apply_basis(params: Params) -> Array:
        return apply_to_table(module, params, data.embeddings, data.input_scale)

    def of_buckets(table: Array, logits: PerUser) -> tuple[Array, Array, PerUser]:
        """With respect to the table and to the logits."""
        along, back = jax.vjp(
            lambda table: [features(table, b) / config.temperature for b in data.buckets], table
        )
        parts = [
            loss_and_gradients(f, c, jnp.asarray(x), hyper.columns, config.likelihood)
            for f, c, x in zip(along, shares, logits.buckets, strict=True)
        ]
        losses, of_features, of_logits = zip(*parts, strict=True)
        loss = sum(losses, jnp.zeros(()))
        return loss, back(list(of_features))[0], PerUser(of_logits)

    def descend(
        adam: optax.GradientTransformation, values: PyTree, gradient: PyTree, optimiser: PyTree
    ) -> tuple[PyTree, PyTree]:
        updates, optimiser = adam.update(gradient, optimiser, values)
        return optax.apply_updates(values, updates), optimiser

    table, pull_back = jax.vjp(apply_basis, state.params)
    loss, gradient, of_logits = of_buckets(table, state.logits)
    logits, logits_optimiser = descend(of_users, state.logits, of_logits, state.optimiser[1])
    if config.alternate:
        loss, gradient, _ = of_buckets(table, logits)
    count = sum((jnp.sum(share) for share in shares), jnp.zeros(()))
    squares = optax.tree.norm(of_logits, squared=True)
    gradient, loss, count, squares = total((pull_back(gradient)[0], loss, count, squares))
    if config.anchor:
        taken = state.optimiser[0][0].count
        alpha = config.anchor * anchor_schedule(taken, config.steps)
        anchor = jax.grad(lambda params: alpha * _anchor(params["V"], hyper))(state.params)
        gradient = jax.tree.map(jnp.add, gradient, anchor)
    params, params_optimiser = descend(of_params, state.params, gradient, state.optimiser[0])
    grad_norm = jnp.sqrt(squares + optax.tree.norm(gradient, squared=True))
    info = Info(loss / jnp.where(count > 0, count, 1.0), grad_norm)
    return SimplexState(params, logits, (params_optimiser, logits_optimiser)), info


def collect_fit(
    state: SimplexState,
    layout: Layout,
    has_pairs: Bool[np.ndarray, " num_users"],
    hyper: SimplexHyper,
    *,
    config: SimplexSettings,
) -> SimplexFit:
    """The fit on the host, without columns that nobody weighs; weights sum to 1 again.

    Args:
        state: the state of all shards, every leaf with its leading shard axis.
        layout: where each user lives.
        has_pairs: which users have pairs with any weight, bool `[num_users]`.
        hyper: as in `step`.
        config: as in `step`.

    Returns:
        A `SimplexFit`. Its basis may have fewer columns than were fitted:
        `module.clone(rank=len(columns))` applies it.

    Reference:
        Bose et al. 2025, arXiv 2504.14439 (the published pruning leaves weights that do not sum to
        1).
    """
    columns = np.flatnonzero(np.asarray(hyper.columns) > 0)
    by_user = jax.vmap(weights_of, in_axes=(0, None))
    mask = jnp.asarray(np.asarray(hyper.columns))
    in_buckets = PerUser(
        tuple(by_user(jnp.asarray(on_host(logits)), mask) for logits in state.logits.buckets)
    )
    weights = layout.collect(in_buckets, np.zeros(len(mask), np.float32))[:, columns]
    uniform = np.full((1, len(columns)), 1.0 / len(columns), np.float32)
    seen = weights[has_pairs] if has_pairs.any() else uniform
    kept = seen.max(axis=0, initial=0.0) >= config.prune
    seen = seen[:, kept] / seen[:, kept].sum(axis=1, keepdims=True)
    mean = seen.mean(axis=0)
    out = np.tile(mean, (layout.num_users, 1))
    out[has_pairs] = seen
    params = jax.tree.map(first_shard, state.params)
    return SimplexFit(take_columns(params, columns[kept]), out, columns[kept], mean)


def _shares(data: FitData, config: SimplexSettings) -> list[Array]:
    """What each pair's loss is multiplied by, `[shots, users]`; mini-batches add up to all."""
    weights = [jnp.asarray(bucket.pair_weight) for bucket in data.buckets]
    totals = [jnp.sum(weight, axis=0) for weight in weights]
    if data.totals is not None:
        totals = list(data.totals.buckets)
    if config.pooled:
        pairs = total(sum((jnp.sum(of_users) for of_users in totals), jnp.zeros(())))
        totals = [pairs[None]] * len(weights)
    return [
        weight / jnp.where(of_users > 0, of_users, 1.0)[None]
        for weight, of_users in zip(weights, totals, strict=True)
    ]


def _anchor(directions: Array, hyper: SimplexHyper) -> Array:
    """The anchor's penalty over the columns in use."""
    head = hyper.head
    if head is None:
        raise ValueError(
            "an anchor is asked for and there is no reference head: give one, or set anchor to 0"
        )
    each = jax.vmap(lambda column: anchor_penalty(column[:, None], head))(directions.T)
    return jnp.sum(each * hyper.columns) / jnp.sum(hyper.columns)
