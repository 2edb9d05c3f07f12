"""Gaussian weights: the basis and the population learned together by Laplace EM (empirical Bayes).

Model. Every user's reward is a population direction plus deviations along the other columns of the
basis,

    z = o + f . d,      d_u ~ N(0, I),

where o is a pair's difference of column 0 of the rewards (weight 1 for everybody) and f of the
others. The scale of the deviations is that of the columns, so the prior of d needs none of its own.
The rewards of a response are

    R(e) + c B[response],

the basis applied to its text plus a term of its own (the *hybrid* basis): what a text does not say
is shared by all who judged the response, and a basis that had to explain it by the text would learn
noise. For responses never seen the term is 0. c is the standard deviation of such terms relative to
that of the basis; 0 switches them off.

E step. With the basis fixed, each user's posterior is approximated by a Gaussian N(m_u, S_u) at its
mode: a Newton step, warm-started from the last one.

M step. With m and S fixed, gradient steps on the expected negative log-likelihood plus ridges,

    mean over pairs [ softplus(-z) + s (1 - s) f' S_u f / 2 ] + (ridge_population |v_0|^2 +
    ridge_deviation |V|^2) / pairs,

z taken at m_u, s = sigmoid(z) held fixed in the second term (else its slope would reward confidence
for its own sake), and
|v|^2 over a column of the basis and its terms together. The covariance term is what remains of integrating d out: it
charges a column for every user it is uncertain about, and so stops the basis from fitting each seen
user's noise. (Maximising over d instead overfits or collapses, depending on the ridge.)

The gradient goes through the table of rewards, so a step passes twice over the embeddings, whatever
the number of pairs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from lore_jax.methods.bradley_terry import bradley_terry
from lore_jax.methods.gaussian.initial_directions import score_directions
from lore_jax.model.basis import LinearBasis
from lore_jax.parallel.buckets import FitData, features
from lore_jax.parallel.devices import total
from lore_jax.solvers.cholesky import inverse
from lore_jax.solvers.likelihood import bradley_terry_loss
from lore_jax.solvers.newton import newton_step
from lore_jax.solvers.pair_sums import combine, quadratic_form

# of a deviation's column at the start, for embeddings of norm 1: features of about half a logit
_START_NORM = 2.0


@dataclasses.dataclass(frozen=True)
class PopulationConfig:
    """How Laplace EM runs; every field is static.

    Attributes:
        steps: gradient steps of the M step.
        learning_rate: Adam's, at the start; it decays to 0 along a cosine.
    """

    steps: int = 100
    learning_rate: float = 0.05


@flax.struct.dataclass
class PopulationHyper:
    """What is chosen on validation; every field is traced, so that a sweep is a vmap.

    Attributes:
        ridge_population: ridge on column 0, in units of pairs.
        ridge_deviation: ridge on the other columns, in units of pairs.
        item_effects: c, the size of the item effects relative to the basis; 0: none.
        columns: 1 for the columns of deviation in use, 0 for the others, `[rank - 1]`.
    """

    ridge_population: jax.Array
    ridge_deviation: jax.Array
    item_effects: jax.Array
    columns: jax.Array


@flax.struct.dataclass
class PopulationState:
    """What the next step needs; leaves belong to one shard.

    Attributes:
        params: `basis`, the Flax parameters, and `terms [responses, rank]`.
        optimiser: Adam's state.
        deviations: m, for each bucket `[rank - 1, users]`.
    """

    params: Any
    optimiser: Any
    deviations: tuple[jax.Array, ...]


def init(
    config: PopulationConfig,
    module: nn.Module,
    data: FitData,
    hyper: PopulationHyper,
    key: jax.Array,
) -> PopulationState:
    """The state before the first step, for one shard: ridge Bradley-Terry and the strongest
    directions of departure from it.

    Args:
        config: how EM runs.
        module: the basis. A linear one starts at the optimum of its population column and along
            `score_directions`; another one at random, with nothing in column 0.
        data: one shard.
        hyper: ridges, size of the responses' terms, columns in use.
        key: for the directions.

    Returns:
        The state of one shard, every user at the population.
    """
    rank = len(hyper.columns) + 1
    terms = jnp.zeros((data.embeddings.shape[0], rank))
    if isinstance(module, LinearBasis):
        start = bradley_terry(data, hyper.ridge_population, hyper.item_effects)
        offsets = jnp.matmul(
            data.embeddings, start.direction / data.input_scale, preferred_element_type=jnp.float32
        )
        offsets += hyper.item_effects * start.terms
        directions = _START_NORM * score_directions(data, offsets, key, rank - 1)
        basis = {"V": jnp.concatenate([start.direction[:, None], directions], axis=1)}
        terms = terms.at[:, 0].set(start.terms)
    else:
        basis: Any = module.init(key, data.embeddings[:1], data.input_scale)["params"]
        basis = {**basis, "V": basis["V"].at[:, 0].set(0.0)}
    params = {"basis": basis, "terms": terms}
    deviations = tuple(jnp.zeros((rank - 1, bucket.chosen.shape[-1])) for bucket in data.buckets)
    return PopulationState(params, _adam(config).init(params), deviations)


def is_convex(module: nn.Module, hyper: PopulationHyper) -> bool:
    """Whether `init` is already the optimum: a linear basis whose only column is the population's
    is Bradley-Terry.
    """
    return isinstance(module, LinearBasis) and len(hyper.columns) == 0


def table_of_rewards(
    module: nn.Module, params: Any, data: FitData, hyper: PopulationHyper
) -> jax.Array:
    """Rewards of the table with the item effects, `[responses, rank]`; columns out of use
    are 0.
    """
    applied = jnp.asarray(
        module.apply({"params": params["basis"]}, data.embeddings, data.input_scale)
    )
    return (applied + hyper.item_effects * params["terms"]) * _in_use(hyper)


def item_effect_variance(hyper: PopulationHyper) -> jax.Array:
    """Prior variance of a item effects, `[rank]`: a ridge r on b is the prior N(0, 1 / 2r),
    and the term is c b.
    """
    ridges = jnp.concatenate(
        [hyper.ridge_population[None], jnp.full_like(hyper.columns, 1.0) * hyper.ridge_deviation]
    )
    return _in_use(hyper)[0] * hyper.item_effects**2 / (2.0 * ridges)


def step(
    state: PopulationState,
    data: FitData,
    hyper: PopulationHyper,
    *,
    module: nn.Module,
    config: PopulationConfig,
) -> tuple[PopulationState, dict[str, jax.Array]]:
    """One E step (a Newton step for everybody) and one gradient step of the M step, for one shard.

    Args:
        state: the shard's state.
        data: the shard's data.
        hyper: ridges, size of the responses' terms, columns in use.
        module: the basis (static).
        config: how EM runs (static).

    Returns:
        The next state, and for the history: `loss`, the expected loss a pair without the ridges, in
            nats, and `grad_norm`.

    Reference:
        Tipping and Bishop 1999, "Probabilistic principal component analysis" (the linear-Gaussian
        ancestor); MacKay 1992.
    """
    pairs = total(sum(jnp.sum(bucket.pair_weight) for bucket in data.buckets))
    table, pull_back = jax.vjp(
        lambda params: table_of_rewards(module, params, data, hyper), state.params
    )
    posteriors = [
        _e_step(features(table, bucket), bucket.pair_weight, deviation)
        for bucket, deviation in zip(data.buckets, state.deviations, strict=True)
    ]

    def expected_loss(table: jax.Array) -> jax.Array:
        parts = zip(data.buckets, posteriors, strict=True)
        losses = [
            _expected_loss(features(table, bucket), bucket.pair_weight, *posterior)
            for bucket, posterior in parts
        ]
        return sum(losses, jnp.zeros(())) / pairs

    loss, gradient = jax.value_and_grad(expected_loss)(table)
    (gradient,) = pull_back(gradient)
    loss, gradient = total((loss, gradient))
    gradient = jax.tree.map(
        jnp.add, gradient, jax.grad(lambda params: _penalty(params, hyper) / pairs)(state.params)
    )
    updates, optimiser = _adam(config).update(gradient, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    deviations = tuple(deviation for deviation, _ in posteriors)
    return PopulationState(params, optimiser, deviations), {
        "loss": loss,
        "grad_norm": optax.tree.norm(gradient),
    }


def _adam(config: PopulationConfig) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))


def _in_use(hyper: PopulationHyper) -> jax.Array:
    return jnp.concatenate([jnp.ones(1), hyper.columns])[None]


def _e_step(
    features: jax.Array, pair_weight: jax.Array, deviation: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Posterior mean and covariance of the users of a bucket, from `features [rank, shots, users]`."""
    k, users = deviation.shape
    if k == 0:
        return deviation, jnp.zeros((0, 0, users))
    # Warm-started, one Newton step a gradient step follows the mode; two gave the same fits at
    # twice the cost.
    found = newton_step(features[1:], features[0], pair_weight, deviation)
    return found.deviation, inverse(found.lower)


def _expected_loss(
    features: jax.Array, pair_weight: jax.Array, deviation: jax.Array, covariance: jax.Array
) -> jax.Array:
    along = features[1:]
    margin = features[0] + combine(along, deviation)
    right = jax.lax.stop_gradient(jax.nn.sigmoid(margin))
    variance = quadratic_form(along, covariance)
    return jnp.sum(
        pair_weight * (bradley_terry_loss(margin) + 0.5 * right * (1.0 - right) * variance)
    )


def _penalty(params: Any, hyper: PopulationHyper) -> jax.Array:
    ridges = jnp.concatenate(
        [hyper.ridge_population[None], jnp.full_like(hyper.columns, 1.0) * hyper.ridge_deviation]
    )
    last = jnp.sum(params["basis"]["V"] ** 2, axis=0) + jnp.sum(params["terms"] ** 2, axis=0)
    hidden = [
        jnp.sum(leaf**2)
        for name, layer in params["basis"].items()
        if name != "V"
        for leaf in layer.values()
    ]
    return jnp.sum(ridges * last) + hyper.ridge_deviation * sum(hidden, jnp.zeros(()))
