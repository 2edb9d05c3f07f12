"""Laplace EM on answers of every kind: the basis, and how people answer, learned together.

`laplace_em` has the model and its evidence. What is new:

- a margin is an entry of an answer (`users/entries.py`), its likelihood that of the answer's kind;
- users who rate have an intercept: a last feature, tau for ratings and 0 for whatever compares,
  whose tau is learned by the evidence like a column of the basis;
- cut points and tie parameters theta are shared by everybody. Of the evidence

      sum [ loss(z; theta) + loss''(z; theta) f' S f / 2 ],

  they are few, so the M step takes a Newton step in them, z and S as the E step left them. The mode
  moves with theta as with the basis: `d phi'(m) = sum d slope(z; theta) f` moves it by -S times
  that, which adds `-slope(z; theta) f . u` with `u = S sum_j A_j f_j` held fixed.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from lore_jax.data.answer_kinds import Kind
from lore_jax.methods.base import Info
from lore_jax.methods.gaussian.basis_laplace import Precisions, basis_posterior, shares
from lore_jax.methods.gaussian.expected_loss import expected_loss
from lore_jax.methods.gaussian.laplace_em import (
    EMConfig,
    PopulationHyper,
    penalty,
    ridges,
    table_of_rewards,
)
from lore_jax.model.answer_model import AnswerModel
from lore_jax.model.basis import Params
from lore_jax.model.basis_posterior import BasisPosterior
from lore_jax.parallel.buckets import (
    FitData,
    PerUser,
    UserBucket,
    add_to_rows,
    features,
    over_users,
)
from lore_jax.parallel.devices import total
from lore_jax.parallel.pytree import pytree, static
from lore_jax.solvers.cholesky import inverse
from lore_jax.solvers.newton import newton_step
from lore_jax.solvers.pair_sums import combine, pull_together, quadratic_form
from lore_jax.solvers.segments import Segments
from lore_jax.users.entries import segments

_LEAST_CURVATURE = 1e-3  # of the largest: along a flat direction a step is short, not wild
_LONGEST_STEP = 0.5  # of the answer parameters, in logits


@pytree
class AnswerBucket(UserBucket):
    """Users of like length and the entries of their answers, which stand as pairs do.

    `chosen` are the rows of the responses whose reward counts, `rejected` those of the responses
    they are compared with: one past the table where there is none.

    Attributes:
        outcome: the levels of each stretch, `[*shards, answers, users]`.
        kinds: the kind of each stretch (static).
    """

    outcome: tuple[Int[Array | np.ndarray, "*shards _answers users"], ...]
    kinds: tuple[Kind, ...] = static()

    def likelihood(self, answers: AnswerModel) -> Segments:
        """The likelihood of the entries."""
        return segments(answers, self.kinds, self.outcome)


@pytree
class AnswerState:
    """What the next step needs.

    Attributes:
        params: `basis` and `item_effects`, as in `laplace_em`, and `log_intercept`, of tau.
        optimiser: Adam's state.
        answers: how people answer.
        deviations: modes, `[rank, users]`: the intercept last, where there are ratings, else
            `[rank - 1, users]`.
    """

    params: Params
    optimiser: optax.OptState
    answers: AnswerModel
    deviations: PerUser


class Known(NamedTuple):
    """What the E step says of a bucket's entries.

    Attributes:
        margin: z at the users' modes, `[entries, users]`.
        variance: `f' S f`.
        moved: `f . u`, how the modes answer to the parameters.
    """

    margin: Float[Array, "entries users"]
    variance: Float[Array, "entries users"]
    moved: Float[Array, "entries users"]


def init(
    config: EMConfig,
    params: Params,
    answers: AnswerModel,
    data: FitData,
    *,
    rank: int,
    with_intercept: bool,
) -> AnswerState:
    """The state before the first step, for one shard, every user at the population.

    Args:
        config: how EM runs.
        params: of the basis and item effects, where to begin.
        answers: how people answer, where to begin.
        data: the shard's answers: its buckets are `AnswerBucket`s.
        rank: of the basis.
        with_intercept: whether users have intercepts.

    Returns:
        The state of one shard.
    """
    params = {**params, "log_intercept": jnp.log(jnp.maximum(answers.intercept, 1e-3))}
    k = rank - 1 + with_intercept
    deviations = tuple(jnp.zeros((k, bucket.chosen.shape[-1])) for bucket in data.buckets)
    return AnswerState(params, _adam(config).init(params), answers, PerUser(deviations))


def step(
    state: AnswerState,
    data: FitData,
    hyper: PopulationHyper,
    *,
    module: nn.Module,
    config: EMConfig,
    with_intercept: bool,
) -> tuple[AnswerState, Info]:
    """One E step, one gradient step of the basis, one Newton step of the answer parameters.

    What crosses shards is the gradient of the basis, as of pairs, and that of the answer
    parameters with their Hessian: a few numbers.

    Args:
        state: the shard's state.
        data: the shard's answers, and the table.
        hyper: ridges, size of the item effects, columns in use.
        module: the basis (static).
        config: how EM runs (static).
        with_intercept: whether users have intercepts (static).

    Returns:
        The next state, and for the history the expected loss an answer, in nats.
    """
    buckets = _of_answers(data)
    count = total(sum(jnp.sum(bucket.pair_weight) for bucket in buckets))
    table, pull_back = jax.vjp(
        lambda params: extended_table(module, params, data, hyper, with_intercept=with_intercept),
        state.params,
    )

    def work(
        so_far: tuple[Array, Array], bucket: AnswerBucket, deviation: Array
    ) -> tuple[tuple[Array, Array], tuple[Array, Known]]:
        """Adds loss and gradient in the table; the users' modes, and what they say of entries."""
        loss, gradient = so_far
        f, weight = features(table, bucket), jnp.asarray(bucket.pair_weight)
        likelihood = bucket.likelihood(state.answers)
        taken = newton_step(f[1:], f[0], weight, deviation, likelihood=likelihood)
        covariance = inverse(taken.lower)
        of_users, of_features = expected_loss(f, weight, taken.deviation, covariance, likelihood)
        gradient = add_to_rows(gradient, bucket, jnp.moveaxis(of_features, 0, -1))
        known = known_after(state.answers, bucket, f, taken.deviation, covariance)
        return (loss + of_users, gradient), (taken.deviation, known)

    so_far, modes, known = (jnp.zeros(()), jnp.zeros_like(table)), [], []
    for bucket, deviation in zip(buckets, state.deviations.buckets, strict=True):
        so_far, (mode, entries) = over_users(work, so_far, bucket, jnp.asarray(deviation))
        modes.append(mode)
        known.append(entries)
    (gradient,) = pull_back(so_far[1] / count)
    loss, gradient = total((so_far[0] / count, gradient))
    ridge = jax.grad(lambda params: penalty(_of_basis(params), hyper) / count)(state.params)
    gradient = jax.tree.map(jnp.add, gradient, ridge)
    updates, optimiser = _adam(config).update(gradient, state.optimiser, state.params)
    params: PyTree = optax.apply_updates(state.params, updates)
    answers = _answer_step(state.answers, buckets, known)
    answers = dataclasses.replace(answers, intercept=_intercept(state.params, with_intercept))
    state = AnswerState(params, optimiser, answers, PerUser(tuple(modes)))
    return state, Info(loss, optax.tree.norm(gradient))


def extended_table(
    module: nn.Module,
    params: Params,
    data: FitData,
    hyper: PopulationHyper,
    *,
    with_intercept: bool,
) -> Float[Array, "rows columns"]:
    """Rewards, then tau for every response; and a row of zeros behind, which ratings point to."""
    table = table_of_rewards(module, _of_basis(params), data, hyper)
    if with_intercept:
        tau = jnp.exp(params["log_intercept"])
        table = jnp.concatenate([table, jnp.full((len(table), 1), tau)], axis=1)
    return jnp.pad(table, ((0, 1), (0, 0)))


def what_is_unknown(
    state: AnswerState,
    data: FitData,
    hyper: PopulationHyper,
    *,
    module: nn.Module,
    with_intercept: bool,
    linear: bool,
) -> tuple[BasisPosterior | None, Float[Array, "2 responses"]]:
    """What the answers leave unknown of the basis and of responses, as `basis_laplace` has it.

    Cut points and intercepts are taken as they are.

    Args:
        state: after the last step, of one shard.
        data: the shard's answers, and the table.
        hyper: ridges, size of the item effects, columns in use.
        module: the basis (static).
        with_intercept: whether users have intercepts (static).
        linear: whether the basis is (static).

    Returns:
        The posterior of a linear basis, and the share of each response's rewards that depends on
        the basis.
    """
    table = extended_table(module, state.params, data, hyper, with_intercept=with_intercept)
    used, columns = jnp.maximum(jnp.sum(hyper.columns), 1.0), len(hyper.columns)

    def precision(_: None, bucket: AnswerBucket, start: Array) -> tuple[None, tuple[Array, Array]]:
        """Of every entry, and the mean second moment of the user's deviations."""
        f, weight = features(table, bucket), jnp.asarray(bucket.pair_weight)
        likelihood = bucket.likelihood(state.answers)
        taken = newton_step(f[1:], f[0], weight, start, likelihood=likelihood)
        spread = jnp.diagonal(inverse(taken.lower), axis1=0, axis2=1).T
        second = (taken.deviation**2 + spread)[:columns]
        moment = jnp.sum(hyper.columns[:, None] * second, axis=0) / used
        margin = f[0] + combine(f[1:], taken.deviation)
        return None, (weight * likelihood.curvature(margin), moment)

    buckets = zip(_of_answers(data), state.deviations.buckets, strict=True)
    of_buckets = [over_users(precision, None, bucket, start)[1] for bucket, start in buckets]
    of_entries, moments = (tuple(values) for values in zip(*of_buckets, strict=True))
    said, kept = Precisions(of_entries, moments if columns else ()), ridges(hyper)
    rows = jnp.pad(jnp.asarray(data.embeddings), ((0, 1), (0, 0)))
    padded = dataclasses.replace(data, embeddings=rows)
    share = shares(padded, said, kept, hyper.item_effects[:, None])
    uncertain = basis_posterior(padded, said, kept, share) if linear else None
    return uncertain, share[:, :-1]


def _of_answers(data: FitData) -> tuple[AnswerBucket, ...]:
    return cast("tuple[AnswerBucket, ...]", data.buckets)


def _of_basis(params: Params) -> Params:
    return {name: params[name] for name in ("basis", "item_effects")}


def _intercept(params: Params, with_intercept: bool) -> Array:
    return jnp.exp(params["log_intercept"]) if with_intercept else jnp.zeros(())


def _adam(config: EMConfig) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))


def answer_evidence(
    answers: AnswerModel,
    buckets: tuple[AnswerBucket, ...],
    known: list[Known],
) -> Float[Array, ""]:
    """A function of the answer parameters with the gradient of minus the Laplace evidence.

    Args:
        answers: the parameters.
        buckets: the answers.
        known: of each bucket, what the E step left.

    Returns:
        A sum over all entries of the shard, in nats.
    """
    evidence = jnp.zeros(())
    for bucket, (margin, variance, moved) in zip(buckets, known, strict=True):
        likelihood = bucket.likelihood(answers)
        value = likelihood.loss(margin) + 0.5 * likelihood.curvature(margin) * variance
        evidence += jnp.sum(bucket.pair_weight * (value - likelihood.slope(margin) * moved))
    return evidence


def known_after(
    answers: AnswerModel,
    bucket: AnswerBucket,
    features: Float[Array, "columns entries users"],
    mean: Float[Array, "k users"],
    covariance: Float[Array, "k k users"],
) -> Known:
    """What the answer parameters are fitted to, given the E step of a bucket."""
    along = features[1:]
    likelihood = bucket.likelihood(answers)
    margin, variance = features[0] + combine(along, mean), quadratic_form(along, covariance)
    _, through = jax.vjp(likelihood.curvature, margin)
    (pull,) = through(0.5 * bucket.pair_weight * variance)
    moved = combine(along, combine(covariance, pull_together(along, pull)))
    return Known(margin, variance, moved)


def _answer_step(
    answers: AnswerModel, buckets: tuple[AnswerBucket, ...], known: list[Known]
) -> AnswerModel:
    """A damped Newton step in the parameters of all scales together."""
    flat, unravel = ravel_pytree(answers.free)
    if not len(flat):
        return answers

    def evidence(flat: Array) -> Array:
        return answer_evidence(dataclasses.replace(answers, free=unravel(flat)), buckets, known)

    gradient, hessian = total((jax.grad(evidence)(flat), jax.hessian(evidence)(flat)))
    values, vectors = jnp.linalg.eigh(hessian)
    values = jnp.maximum(jnp.abs(values), _LEAST_CURVATURE * jnp.max(jnp.abs(values)))
    move = -vectors @ ((vectors.T @ gradient) / values)
    length = jnp.minimum(1.0, _LONGEST_STEP / jnp.maximum(jnp.linalg.norm(move), 1e-12))
    return dataclasses.replace(answers, free=unravel(flat + length * move))
