"""Gaussian weights: the basis and the population learned together by Laplace EM (empirical Bayes).

Model. Every user's reward is a population direction plus deviations along the other columns of the
basis,

    z = o + f . d,      d_u ~ N(0, I),

where o is a pair's difference of column 0 of the rewards (weight 1 for everybody) and f of the
others. The scale of the deviations is that of the columns, so the prior of d needs none of its own.
The rewards of a response are

    R(e) + c B[response],

the basis applied to its text plus an item effect: what a text does not say is shared by all who
judged the response, and a basis that had to explain it by the text would learn noise. For responses
never seen the effect is 0. c is the standard deviation of the effects relative to that of the
basis; 0 switches them off.

E step. With the basis fixed, each user's posterior is approximated by a Gaussian N(m_u, S_u) at its
mode: a Newton step, warm-started from the last one.

M step. Gradient steps on the Laplace evidence of all users, with ridges,

    1 / pairs  sum over users [ phi_u(m_u) + log |H_u| / 2 ]
        + (ridge_population |v_0|^2 + ridge_deviation |V|^2) / pairs,
    phi_u(d) = sum over pairs of loss(z) + |d|^2 / 2,      H_u = phi_u''(m_u) = S_u^-1,

|v|^2 being over a column of the basis and its item effects together. m_u minimises phi_u, so phi_u
changes with the basis as if m_u were fixed; H_u changes through f, through z and through the mode:
d log |H_u| = tr(S_u dH_u). A surrogate has this gradient,

    mean over pairs [ loss(z) + loss''(z~) f' S_u f / 2 ],

z taken at m_u and z~ at m_u - S_u phi_u'(m_u): its value is m_u, its derivative that of the mode.
The second term is what remains of integrating d out: it charges a column for every user it is
uncertain about, and so stops the basis from fitting each seen user's noise. (Maximising over d
instead overfits or collapses, depending on the ridge; holding loss'' fixed shrinks the deviations,
by a third at 5 pairs a user.)

The gradient goes through the table of rewards, so a step passes twice over the embeddings, whatever
the number of pairs. What a pair needs is held for some users at a time (`over_users`), and the
embeddings may be read from disk (`parallel/table_rows.py`): memory grows with the rewards of the
table and the index arrays alone.
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree

from lore_jax.methods.base import Info
from lore_jax.methods.bradley_terry import bradley_terry
from lore_jax.methods.gaussian.basis_laplace import Precisions, basis_posterior, shares
from lore_jax.methods.gaussian.expected_loss import expected_loss
from lore_jax.methods.gaussian.initial_directions import score_directions
from lore_jax.model.basis import LinearBasis, Params, apply_to_table
from lore_jax.model.basis_posterior import BasisPosterior, by_column
from lore_jax.parallel.buckets import (
    FitData,
    PerUser,
    UserBucket,
    add_to_rows,
    features,
    over_users,
)
from lore_jax.parallel.devices import total
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.cholesky import inverse
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood
from lore_jax.solvers.newton import newton_step
from lore_jax.solvers.pair_sums import combine

# Of a deviation's column at the start, for embeddings of norm 1: features of about half a logit.
_START_NORM = 2.0


@dataclasses.dataclass(frozen=True)
class EMConfig:
    """How Laplace EM runs; every field is static.

    Attributes:
        steps: gradient steps of the M step.
        learning_rate: Adam's, at the start; it decays to 0 along a cosine.
        likelihood: how probable a choice is, given its margin.
    """

    steps: int = 100
    learning_rate: float = 0.05
    likelihood: Likelihood = LOGISTIC


@pytree
class PopulationHyper:
    """What is chosen on validation; every field is traced, so that a sweep is a vmap.

    Attributes:
        ridge_population: ridge on column 0, in units of pairs.
        ridge_deviation: ridge on the other columns, in units of pairs.
        item_effects: c, the size of the item effects relative to the basis, on column 0 and on the
            others, `[2]`; 0: none.
        columns: 1 for the columns of deviation in use, 0 for the others, `[rank - 1]`.
        mixture: whether a mixture is learned; if not, its components are those of N(0, I).
    """

    ridge_population: Float[Array, ""]
    ridge_deviation: Float[Array, ""]
    item_effects: Float[Array, " 2"]
    columns: Float[Array, " deviations"]
    mixture: Bool[Array, ""] | bool = True


@pytree
class PopulationState:
    """What the next step needs; leaves belong to one shard.

    Attributes:
        params: `basis`, the Flax parameters, and `item_effects [responses, rank]`, B.
        optimiser: Adam's state.
        deviations: m, `[rank - 1, users]`.
        moments: `E[d^2]`, the mean over the columns in use, `[users]`.
    """

    params: Params
    optimiser: optax.OptState
    deviations: PerUser
    moments: PerUser


def init(
    config: EMConfig, module: nn.Module, data: FitData, hyper: PopulationHyper, key: jax.Array
) -> PopulationState:
    """The state before the first step, for one shard, every user at the population.

    A linear basis starts at ridge Bradley-Terry and along `score_directions`; another one at
    random, with nothing in column 0.

    Args:
        config: how EM runs.
        module: the basis.
        data: one shard.
        hyper: ridges, size of the item effects, columns in use.
        key: for the directions.

    Returns:
        The state of one shard.
    """
    rank = len(hyper.columns) + 1
    effects = jnp.zeros((data.embeddings.shape[0], rank))
    if isinstance(module, LinearBasis):
        sizes = _sizes_of_effects(data, hyper)[0]
        start = bradley_terry(data, hyper.ridge_population, sizes, likelihood=config.likelihood)
        population = start.rewards
        directions = score_directions(data, population, key, rank - 1, likelihood=config.likelihood)
        columns = [start.direction[:, None], _START_NORM * directions]
        basis: Params = {"V": jnp.concatenate(columns, axis=1)}
        effects = effects.at[:, 0].set(start.item_effects)
    else:
        example = jnp.zeros((1, data.embeddings.shape[1]))
        basis = dict(module.init(key, example, data.input_scale)["params"])
        basis["V"] = basis["V"].at[:, 0].set(0.0)
    params: Params = {"basis": basis, "item_effects": effects}
    users = [bucket.chosen.shape[-1] for bucket in data.buckets]
    deviations = PerUser(tuple(jnp.zeros((rank - 1, count)) for count in users))
    moments = PerUser(tuple(jnp.zeros(count) for count in users))
    return PopulationState(params, _adam(config).init(params), deviations, moments)


def table_of_rewards(
    module: nn.Module, params: Params, data: FitData, hyper: PopulationHyper
) -> Float[Array, "responses rank"]:
    """Rewards of the table with the item effects; columns out of use are 0."""
    applied = apply_to_table(module, params["basis"], data.embeddings, data.input_scale)
    sizes = by_column(_sizes_of_effects(data, hyper).T, len(hyper.columns) + 1)
    return (applied + sizes * params["item_effects"]) * _in_use(hyper)


def item_effect_variance(data: FitData, hyper: PopulationHyper) -> Float[Array, "2 #responses"]:
    """Prior variance of an effect c b, of column 0 and of another: a ridge r is N(0, 1 / 2r)."""
    return _sizes_of_effects(data, hyper) ** 2 / (2.0 * ridges(hyper)[:, None])


def what_is_unknown(
    state: PopulationState,
    data: FitData,
    hyper: PopulationHyper,
    table: Float[Array, "responses rank"],
    *,
    likelihood: Likelihood,
    linear: bool,
) -> tuple[BasisPosterior | None, Float[Array, "2 responses"]]:
    """What the pairs leave unknown of the basis and of responses (`basis_laplace`), for one shard.

    Args:
        state: after the last step.
        data: the shard's data.
        hyper: ridges, size of the item effects, columns in use.
        table: the rewards.
        likelihood: whose loss.
        linear: whether the basis is.

    Returns:
        The posterior of a linear basis, and the share of each response's rewards that depends on
        the basis: 1 for a response that nobody judged.
    """

    def precision(_: None, bucket: UserBucket, mean: Array) -> tuple[None, Array]:
        along = features(table, bucket)
        margin = along[0] + combine(along[1:], mean)
        return None, jnp.asarray(bucket.pair_weight) * likelihood.curvature(margin)

    buckets = zip(data.buckets, state.deviations.buckets, strict=True)
    of_pairs = tuple(over_users(precision, None, bucket, mean)[1] for bucket, mean in buckets)
    moments = tuple(map(jnp.asarray, state.moments.buckets)) if len(hyper.columns) else ()
    said, kept = Precisions(of_pairs, moments), ridges(hyper)
    share = shares(data, said, kept, _sizes_of_effects(data, hyper))
    return basis_posterior(data, said, kept, share) if linear else None, share


def step(
    state: PopulationState,
    data: FitData,
    hyper: PopulationHyper,
    *,
    module: nn.Module,
    config: EMConfig,
) -> tuple[PopulationState, Info]:
    """One E step (a Newton step for everybody) and one gradient step of the M step, for one shard.

    Args:
        state: the shard's state.
        data: the shard's data.
        hyper: ridges, size of the item effects, columns in use.
        module: the basis (static).
        config: how EM runs (static).

    Returns:
        The next state, and for the history the expected loss a pair without the ridges, in nats.

    Reference:
        Tipping and Bishop 1999, "Probabilistic principal component analysis" (the linear-Gaussian
        ancestor); MacKay 1992.
    """
    pairs = total(sum(jnp.sum(bucket.pair_weight) for bucket in data.buckets))
    table, pull_back = jax.vjp(
        lambda params: table_of_rewards(module, params, data, hyper), state.params
    )

    def work(
        so_far: tuple[Array, Array], bucket: UserBucket, deviation: Array
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Adds loss and gradient in the table; the users' new modes and moments."""
        loss, gradient = so_far
        along, weight = features(table, bucket), jnp.asarray(bucket.pair_weight)
        posterior = _e_step(along, weight, deviation, config.likelihood)
        of_users, of_features = expected_loss(along, weight, *posterior, config.likelihood)
        gradient = add_to_rows(gradient, bucket, jnp.moveaxis(of_features, 0, -1))
        return (loss + of_users, gradient), (posterior[0], _moment(*posterior, hyper))

    so_far, users = (jnp.zeros(()), jnp.zeros_like(table)), []
    for bucket, deviation in zip(data.buckets, state.deviations.buckets, strict=True):
        so_far, of_users = over_users(work, so_far, bucket, jnp.asarray(deviation))
        users.append(of_users)
    (gradient,) = pull_back(so_far[1] / pairs)
    loss, gradient = total((so_far[0] / pairs, gradient))
    of_penalty = jax.grad(lambda params: penalty(params, hyper) / pairs)(state.params)
    gradient = jax.tree.map(jnp.add, gradient, of_penalty)
    updates, optimiser = _adam(config).update(gradient, state.optimiser, state.params)
    params: PyTree = optax.apply_updates(state.params, updates)
    deviations, moments = (PerUser(tuple(values)) for values in zip(*users, strict=True))
    state = PopulationState(params, optimiser, deviations, moments)
    return state, Info(loss, optax.tree.norm(gradient))


def _moment(mean: Array, covariance: Array, hyper: PopulationHyper) -> Array:
    """Of a user's deviations; the mean over columns, which may be rotated into each other."""
    second = mean**2 + jnp.diagonal(covariance, axis1=0, axis2=1).T
    used = jnp.maximum(jnp.sum(hyper.columns), 1.0)
    return jnp.sum(hyper.columns[:, None] * second, axis=0) / used


def _adam(config: EMConfig) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))


def _in_use(hyper: PopulationHyper) -> Array:
    return jnp.concatenate([jnp.ones(1), hyper.columns])[None]


def _sizes_of_effects(data: FitData, hyper: PopulationHyper) -> Float[Array, "2 #responses"]:
    """c, and of a table in few coordinates what they leave out (`fitting/reduced_table.py`)."""
    if data.outside is None:
        return hyper.item_effects[:, None]
    outside = data.outside / data.input_scale**2
    return jnp.sqrt(hyper.item_effects[:, None] ** 2 + outside[None])


def ridges(hyper: PopulationHyper) -> Float[Array, " 2"]:
    """Of column 0 and of the others."""
    return jnp.stack([hyper.ridge_population, hyper.ridge_deviation])


def _ridges(hyper: PopulationHyper) -> Float[Array, " rank"]:
    return by_column(ridges(hyper), len(hyper.columns) + 1)


def _e_step(
    features: Array, pair_weight: Array, deviation: Array, likelihood: Likelihood
) -> tuple[Array, Array]:
    """Posterior mean and covariance of the users of a bucket; `features [rank, shots, users]`."""
    k, users = deviation.shape
    if k == 0:
        return deviation, jnp.zeros((0, 0, users))
    # Warm-started, one Newton step a gradient step follows the mode; two gave the same fits at
    # twice the cost.
    taken = newton_step(features[1:], features[0], pair_weight, deviation, likelihood=likelihood)
    return taken.deviation, inverse(taken.lower)


def penalty(params: Params, hyper: PopulationHyper) -> Float[Array, ""]:
    """The ridges on basis and item effects, in nats."""
    last = jnp.sum(params["basis"]["V"] ** 2, axis=0) + jnp.sum(params["item_effects"] ** 2, axis=0)
    hidden = [jnp.sum(leaf**2) for leaf in jax.tree.leaves({**params["basis"], "V": None})]
    return jnp.sum(_ridges(hyper) * last) + hyper.ridge_deviation * sum(hidden, jnp.zeros(()))
