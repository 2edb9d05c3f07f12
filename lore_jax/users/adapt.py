"""Adapting to users: weights and posterior of any number of users from a few comparisons each, the
basis frozen.

The basis is applied to the table once, `[responses, rank]`; after that nothing costs dim. Users are
grouped by number of shots and solved in chunks of a power of two, so that ragged users cost what
their shots cost and the number of compiled programs is at most a few times the number of bucket
lengths, whatever the population.
"""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.data.preferences import Preferences, group_by_user
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import POSTERIOR_ARRAYS, Posterior, population_posterior
from lore_jax.model.prior import Population
from lore_jax.solvers.interior_point import simplex_estimate
from lore_jax.solvers.mixture import mixture_estimate
from lore_jax.solvers.newton import map_estimate

# 2^14 pairs times rank 8 in float32 are half a megabyte of features, which stays in a core's cache;
# an accelerator wants more at once.
_PAIRS_PER_CHUNK = {"cpu": 2**14, "accelerator": 2**22}
_LEAST_USERS = 64  # in a chunk: fewer cost as much
_PRECISE = jax.lax.Precision.HIGHEST  # of products of size rank, which cost nothing


def adapt_user(
    model: Model, features: jax.Array, pair_weight: jax.Array, start: jax.Array | None = None
) -> Posterior:
    """One user's weights and posterior from the features of the pairs the user compared; pure,
    jit-able.

    Gaussian family: the mode of `sum_i c_i log(1 + exp(-f_i . w)) + (w - mean)' covariance^-1 (w -
    mean) / 2` and the Laplace covariance there; where the population falls into components, mean and
    covariance of the mixture of the components' posteriors. Simplex family: the minimiser of the mean
    loss over the simplex.

    Users may ride along in trailing axes of every argument; the results then carry them in their
    trailing axes.

    Args:
        model: a fitted model (only its population and family are used).
        features: differences of `rewards` between chosen and rejected, `[shots, rank, ...]`.
        pair_weight: how much a pair counts, 0 for padding, `[shots, ...]`.
        start: weights to start from, `[rank, ...]`; None: the population's mean. Used by the
            gaussian family without components alone.

    Returns:
        A `Posterior` of one user: `weights [rank, ...]`, `covariance [rank, rank, ...]`.

    Example:
        >>> table = rewards(model, prefs.embeddings).table
        >>> adapt_user(model, table[prefs.chosen] - table[prefs.rejected], jnp.ones(prefs.num_pairs)).weights

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 5 (simplex).
    """
    by_column = jnp.moveaxis(features, 1, 0)
    if model.family == "gaussian":
        by_column = jnp.tensordot(_axes(model.population).T, by_column, 1, precision=_PRECISE)
    return _adapt_user(model, by_column, pair_weight, start)


def _axes(population: Population) -> jax.Array:
    """Directions along which rewards are taken, `[rank, k + 1]`: the factor's columns, and the
    mean.

    `w = mean + factor d` turns the prior into N(0, I): features along the factor's columns, along
    the mean as an offset.
    """
    return jnp.concatenate([population.factor, population.mean[:, None]], axis=1)


def _adapt_user(
    model: Model, along: jax.Array, pair_weight: jax.Array, start: jax.Array | None
) -> Posterior:
    """`adapt_user` of features `[columns, shots, ...]`, in the gaussian family along `_axes`."""
    users = along.shape[2:]
    shots = jnp.sum(pair_weight > 0, axis=0, dtype=jnp.int32)
    mean, factor = model.population.mean, model.population.factor
    prior_mean = jnp.broadcast_to(mean.reshape(-1, *[1] * len(users)), (mean.shape[0], *users))
    if model.family == "simplex":
        found = simplex_estimate(along, pair_weight)
        weights = jnp.where(shots > 0, found.weights, prior_mean)
        covariance = jnp.zeros((mean.shape[0], mean.shape[0], *users))
        return Posterior(weights, covariance, shots, found.converged, found.steps, found.grad_norm)
    if model.population.mixture is not None:
        found = mixture_estimate(along[:-1], along[-1], pair_weight, model.population.mixture)
    else:
        deviation = (
            jnp.zeros((factor.shape[1], *users))
            if start is None
            else _deviation(model.population, start)
        )
        found = map_estimate(along[:-1], along[-1], pair_weight, deviation)
    covariance = jnp.einsum(
        "ra,ab...,sb->rs...", factor, found.covariance, factor, precision=_PRECISE
    )
    weights = prior_mean + jnp.tensordot(factor, found.deviation, 1, precision=_PRECISE)
    return Posterior(weights, covariance, shots, found.converged, found.steps, found.grad_norm)


def _deviation(population: Population, weights: jax.Array) -> jax.Array:
    """The d with `mean + factor d = weights`, `[k, ...]` (least squares; factors have independent
    columns).
    """
    mean = population.mean.reshape(-1, *[1] * (weights.ndim - 1))
    gram = population.factor.T @ population.factor
    return jnp.tensordot(jnp.linalg.inv(gram) @ population.factor.T, weights - mean, 1)


def adapt(model: Model, prefs: Preferences, *, start: Posterior | None = None) -> Posterior:
    """Weights and posterior of every user of `prefs`, thousands or millions in one call.

    A user without pairs is the population. To add shots to users already adapted, pass all their
    pairs and their earlier posterior as `start`: the result is that of all pairs, exactly, in one
    or two steps instead of many.

    Args:
        model: a fitted model; its basis is applied to the table once.
        prefs: the shots, over a table of the same encoder as the fit's.
        start: an earlier posterior of the same users, in the same order; users may have been added
            behind them.

    Returns:
        A `Posterior` on the host. Never raises for a user: see `converged`, `steps` and
        `grad_norm`.

    Raises:
        ValueError: the table is of another width than the model's, or `start` has more users than
            `prefs`.

    Example:
        >>> posterior = adapt(model, few_shot_prefs)
        >>> posterior.weights.shape, bool(posterior.converged.all())
        ((5000, 8), True)

    Reference:
        Bose et al. 2025, arXiv 2504.14439, section 3.3.
    """
    table = rewards(model, prefs.embeddings).table
    return adapt_rewards(model, table, prefs, start=start)


def adapt_rewards(
    model: Model, table: jax.Array, prefs: Preferences, *, start: Posterior | None = None
) -> Posterior:
    """The same as `adapt` for rewards already computed: `table [responses, rank]` from `rewards`."""
    if start is not None and start.num_users > prefs.num_users:
        raise ValueError(
            f"start has {start.num_users} users, the preferences have {prefs.num_users}"
        )
    # Only population and family matter from here on: models that differ in anything else share the
    # compiled programs.
    prior = dataclasses.replace(
        model, basis=None, params=None, input_scale=None, temperature=1.0, terms=None
    )
    table = (
        _along_axes(model.population, table) if model.family == "gaussian" else jnp.asarray(table)
    )
    platform = next(iter(table.devices())).platform
    out = _unfilled(model, prefs.num_users, prefs.user_ids)

    def solve(
        users: np.ndarray, first: np.ndarray, count: np.ndarray, shots: int, chunk: int
    ) -> None:
        padding = (
            0,
            chunk - len(users),
        )  # every chunk has the same shape, so every chunk runs the same program
        ahead, count = np.arange(shots, dtype=np.int32)[:, None], np.pad(count, padding)
        pairs = np.pad(first, padding) + np.minimum(ahead, count - 1)
        pair_weight = np.where(ahead < count, prefs.pair_weight[pairs], np.float32(0.0))
        features = _features(table, prefs.chosen[pairs], prefs.rejected[pairs])
        begin = None if start is None else _start_of(users, start, model, padding)
        _fill(out, users, jax.device_get(_adapt_chunk(prior, features, pair_weight, begin)))

    jobs, silent = [], np.ones(prefs.num_users, bool)
    for bucket in group_by_user(prefs):
        silent[bucket.users] = False
        shots = _padded_length(int(bucket.count.max()))
        chunk = _chunk_size(shots, len(bucket.users), platform)
        for at in range(0, len(bucket.users), chunk):
            part = slice(at, at + chunk)
            jobs.append((bucket.users[part], bucket.first[part], bucket.count[part], shots, chunk))
    users = np.flatnonzero(silent)
    _fill(out, users, population_posterior(model, len(users)))
    # A chunk is small for the sake of a core's cache, too small to be divided: cores get chunks of
    # their own. On an accelerator the host prepares a chunk while another one is solved.
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]  (of the caller's thread)

    def work(job: tuple[Any, ...]) -> None:
        with jax.default_device(device):
            solve(*job)

    with ThreadPoolExecutor(_cores() if platform == "cpu" else 2) as pool:
        for _ in pool.map(work, jobs):
            pass
    return out


def _cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _padded_length(shots: int) -> int:
    """The next number with at most three binary digits: little padding, and few lengths, for each
    compiles a program.
    """
    step = 1 << max(0, shots.bit_length() - 3)
    return -(-shots // step) * step


def _chunk_size(shots: int, users: int, platform: str) -> int:
    """How many users are solved together: all, or as many as a CPU core's cache holds, on an
    accelerator many more.
    """
    most = max(1, _PAIRS_PER_CHUNK["cpu" if platform == "cpu" else "accelerator"] // shots)
    return min(most, max(_LEAST_USERS, 1 << (users - 1).bit_length()))


def _unfilled(model: Model, num_users: int, user_ids: np.ndarray | None) -> Posterior:
    rank = model.rank
    return Posterior(
        weights=np.empty((num_users, rank), np.float32),
        covariance=np.zeros((num_users, rank, rank), np.float32),
        shots=np.empty(num_users, np.int32),
        converged=np.empty(num_users, bool),
        steps=np.empty(num_users, np.int32),
        grad_norm=np.empty(num_users, np.float32),
        user_ids=user_ids,
    )


def _fill(out: Posterior, users: np.ndarray, found: Posterior) -> None:
    """Writes the first `len(users)` rows of whatever `found` has; where it is None, `out` keeps its
    zeros.
    """
    for name in POSTERIOR_ARRAYS:
        if getattr(found, name) is not None:
            getattr(out, name)[users] = getattr(found, name)[: len(users)]


def _start_of(
    users: np.ndarray, start: Posterior, model: Model, padding: tuple[int, int]
) -> np.ndarray:
    """Where the users begin, `[rank, chunk]`: the population's mean for those who are not in
    `start`.
    """
    mean = np.asarray(model.population.mean)
    known = users < start.num_users
    begin = np.tile(mean, (len(users), 1))
    begin[known] = np.asarray(start.weights)[users[known]]
    return np.pad(begin, (padding, (0, 0))).T


@jax.jit
def _along_axes(population: Population, table: jax.Array) -> jax.Array:
    return jnp.matmul(table, _axes(population), precision=_PRECISE)


@jax.jit
def _features(table: jax.Array, chosen: jax.Array, rejected: jax.Array) -> jax.Array:
    """`[responses, columns]` and rows `[shots, users]` -> `[columns, shots, users]`.

    A program of its own, quick to compile: the solver's then serves tables of any number of
        responses.
    """
    pairs = [
        table.at[rows].get(mode="promise_in_bounds") for rows in (chosen, rejected)
    ]  # checked with the pairs
    return jnp.moveaxis(pairs[0] - pairs[1], 2, 0)


@jax.jit
def _adapt_chunk(
    model: Model, along: jax.Array, pair_weight: jax.Array, start: jax.Array | None
) -> Posterior:
    """`along [columns, shots, users]`, `pair_weight`, `start [rank, users]` -> a posterior with users in
    front.
    """
    solved = _adapt_user(model, along, pair_weight, start)
    if model.family == "simplex":
        solved = dataclasses.replace(
            solved, covariance=None
        )  # zeros, half of all that would be carried to the host
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), solved)
