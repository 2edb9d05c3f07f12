"""Adapting to users: weights and posterior of any number of users from a few comparisons each, the basis frozen.

The basis is applied to the table once, `[responses, rank]`; after that nothing costs dim. Users are grouped by number of
shots and solved in chunks of a fixed size, so that ragged users cost what their shots cost and the number of compiled
programs is the number of bucket lengths, whatever the population.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.interior_point import simplex_estimate
from lore_jax.mixture import mixture_estimate
from lore_jax.model import Model, Population, rewards
from lore_jax.newton import map_estimate
from lore_jax.preferences import Preferences, group_by_user

_PAIRS_PER_CHUNK = 16_384  # times rank 8 in float32: half a megabyte of features, which stays in a core's cache


@flax.struct.dataclass
class Posterior:
    """What is known of each user's weights after some shots: `w ~ N(weights, covariance)`.

    Attributes:
        weights: the mode, `[users, rank]`, or the mean over camps, where the population falls into camps; the
            population's mean for a user without shots.
        covariance: Laplace covariance, `[users, rank, rank]`; zeros in the simplex family, which has no prior.
        shots: number of comparisons used, int32 `[users]`.
        converged: whether the solve reached its optimum, `[users]`.
        steps: Newton steps taken, int32 `[users]`.
        grad_norm: norm of the gradient where the solve ended, `[users]`.
        user_ids: the users' names `[users]`, or None (static).
    """

    weights: Any
    covariance: Any
    shots: Any
    converged: Any
    steps: Any
    grad_norm: Any
    user_ids: Any = flax.struct.field(pytree_node=False, default=None)

    @property
    def num_users(self) -> int:
        """The number of users."""
        return self.weights.shape[0]

    def take(self, users: np.ndarray) -> Posterior:
        """The posterior of some users `[n]`, in the order given."""
        taken = jax.tree.map(lambda leaf: leaf[users], self)
        return dataclasses.replace(taken, user_ids=None if self.user_ids is None else self.user_ids[users])


def population_posterior(model: Model, num_users: int, user_ids: np.ndarray | None = None) -> Posterior:
    """The posterior of users about whom nothing is known: each is the population.

    Args:
        model: a fitted model.
        num_users: how many users.
        user_ids: their names.

    Returns:
        A `Posterior` on the host: every row the population's mean and covariance, 0 shots, converged.

    Example:
        >>> population_posterior(model, 3).weights.shape
        (3, 8)
    """
    mean, covariance = np.asarray(model.population.mean), np.asarray(model.population.covariance)
    return Posterior(
        weights=np.tile(mean, (num_users, 1)),
        covariance=np.tile(covariance, (num_users, 1, 1)),
        shots=np.zeros(num_users, np.int32),
        converged=np.ones(num_users, bool),
        steps=np.zeros(num_users, np.int32),
        grad_norm=np.zeros(num_users, np.float32),
        user_ids=user_ids,
    )


def adapt_user(model: Model, features: jax.Array, weight: jax.Array, start: jax.Array | None = None) -> Posterior:
    """One user's weights and posterior from the features of the pairs the user compared; pure, jit-able.

    Gaussian family: the mode of `sum_i c_i log(1 + exp(-f_i . w)) + (w - mean)' covariance^-1 (w - mean) / 2` and the
    Laplace covariance there; where the population falls into camps, mean and covariance of the mixture of the camps'
    posteriors. Simplex family: the minimiser of the mean loss over the simplex.

    Users may ride along in trailing axes of every argument; the results then carry them in their trailing axes.

    Args:
        model: a fitted model (only its population and family are used).
        features: differences of `rewards` between chosen and rejected, `[shots, rank, ...]`.
        weight: how much a pair counts, 0 for padding, `[shots, ...]`.
        start: weights to start from, `[rank, ...]`; None: the population's mean. Used by the gaussian family
            without camps alone.

    Returns:
        A `Posterior` of one user: `weights [rank, ...]`, `covariance [rank, rank, ...]`.

    Example:
        >>> table = rewards(model, prefs.embeddings).table
        >>> adapt_user(model, table[prefs.chosen] - table[prefs.rejected], jnp.ones(prefs.num_pairs)).weights

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 5 (simplex).
    """
    by_column = jnp.moveaxis(features, 1, 0)
    users = by_column.shape[2:]
    shots = jnp.sum(weight > 0, axis=0, dtype=jnp.int32)
    mean, factor = model.population.mean, model.population.factor
    prior_mean = jnp.broadcast_to(mean.reshape(-1, *[1] * len(users)), (mean.shape[0], *users))
    if model.family == "simplex":
        found = simplex_estimate(by_column, weight)
        weights = jnp.where(shots > 0, found.weights, prior_mean)
        covariance = jnp.zeros((mean.shape[0], mean.shape[0], *users))
        return Posterior(weights, covariance, shots, found.converged, found.steps, found.grad_norm)
    # w = mean + factor d turns the prior into N(0, I): features along the factor's columns, the mean as an offset.
    along = jnp.tensordot(factor.T, by_column, 1)
    offset = jnp.tensordot(mean, by_column, 1)
    if model.population.camps is not None:
        found = mixture_estimate(along, offset, weight, model.population.camps)
    else:
        deviation = jnp.zeros((factor.shape[1], *users)) if start is None else _deviation(model.population, start)
        found = map_estimate(along, offset, weight, deviation)
    covariance = jnp.einsum("ra,ab...,sb->rs...", factor, found.covariance, factor)
    weights = prior_mean + jnp.tensordot(factor, found.deviation, 1)
    return Posterior(weights, covariance, shots, found.converged, found.steps, found.grad_norm)


def _deviation(population: Population, weights: jax.Array) -> jax.Array:
    """The d with `mean + factor d = weights`, `[k, ...]` (least squares; factors have independent columns)."""
    mean = population.mean.reshape(-1, *[1] * (weights.ndim - 1))
    gram = population.factor.T @ population.factor
    return jnp.tensordot(jnp.linalg.inv(gram) @ population.factor.T, weights - mean, 1)


def adapt(model: Model, prefs: Preferences, *, start: Posterior | None = None) -> Posterior:
    """Weights and posterior of every user of `prefs`, thousands or millions in one call.

    A user without pairs is the population. To add shots to users already adapted, pass all their pairs and their earlier
    posterior as `start`: the result is that of all pairs, exactly, in one or two steps instead of many.

    Args:
        model: a fitted model; its basis is applied to the table once.
        prefs: the shots, over a table of the same encoder as the fit's.
        start: an earlier posterior of the same users, in the same order; users may have been added behind them.

    Returns:
        A `Posterior` on the host. Never raises for a user: see `converged`, `steps` and `grad_norm`.

    Raises:
        ValueError: the table is of another width than the model's, or `start` has more users than `prefs`.

    Example:
        >>> posterior = adapt(model, few_shot_prefs)
        >>> posterior.weights.shape, bool(posterior.converged.all())
        ((5000, 8), True)

    Reference:
        Bose et al. 2025, arXiv 2504.14439, section 3.3.
    """
    table = rewards(model, prefs.embeddings).table
    return adapt_rewards(model, table, prefs, start=start)


def adapt_rewards(model: Model, table: jax.Array, prefs: Preferences, *, start: Posterior | None = None) -> Posterior:
    """The same as `adapt` for rewards already computed: `table [responses, rank]` from `rewards`."""
    out = population_posterior(model, prefs.num_users, prefs.user_ids)
    begin = out.weights
    if start is not None:
        if start.num_users > prefs.num_users:
            raise ValueError(f"start has {start.num_users} users, the preferences have {prefs.num_users}")
        begin = np.concatenate([np.asarray(start.weights), begin[start.num_users :]])
    # Only population and family matter from here on: models that differ in anything else share the compiled programs.
    prior = dataclasses.replace(model, basis=None, params=None, input_scale=None, temperature=1.0, terms=None)
    pending = []
    for bucket in group_by_user(prefs):
        chunk = max(1, _PAIRS_PER_CHUNK // bucket.shots)
        ahead = np.arange(bucket.shots)[:, None]
        for at in range(0, len(bucket.users), chunk):
            users, count = bucket.users[at : at + chunk], bucket.count[at : at + chunk]
            padding = (0, chunk - len(users))  # every chunk has the same shape, so every chunk runs the same program
            pairs = np.pad(bucket.first[at : at + chunk], padding) + np.minimum(ahead, np.pad(count, padding) - 1)
            weight = np.where(ahead < np.pad(count, padding), prefs.weight[pairs], 0.0).astype(np.float32)
            begin_chunk = np.pad(begin[users], (padding, (0, 0))).T
            features = _features(table, prefs.chosen[pairs], prefs.rejected[pairs])
            solved = _adapt_chunk(prior, features, weight, begin_chunk)
            pending.append((users, solved))
    # One transfer at the end of each chunk's work, after all chunks have been queued.
    for users, solved in pending:
        for name in ("weights", "covariance", "shots", "converged", "steps", "grad_norm"):
            getattr(out, name)[users] = np.asarray(getattr(solved, name))[: len(users)]
    return out


@jax.jit
def _features(table: jax.Array, chosen: jax.Array, rejected: jax.Array) -> jax.Array:
    """`[responses, rank]` and rows `[shots, users]` -> `[shots, rank, users]`.

    A program of its own, quick to compile: the solver's then serves tables of any number of responses.
    """
    return jnp.moveaxis(table[chosen] - table[rejected], 2, 1)


@functools.partial(jax.jit, donate_argnames=("start",))
def _adapt_chunk(model: Model, features: jax.Array, weight: jax.Array, start: jax.Array) -> Posterior:
    """`features [shots, rank, users]`, `weight`, `start [rank, users]` -> a posterior with users in front."""
    solved = adapt_user(model, features, weight, start)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), solved)
