"""Adapting: weights of any number of users from a few comparisons each, the basis frozen.

The basis is applied to the table once, `[responses, rank]`; after that nothing costs dim. Users are
grouped by number of shots and solved in chunks of a power of two, so that ragged users cost what
their shots cost and the number of compiled programs is at most a few times the number of bucket
lengths, whatever the population. On a CPU the compiled library solves them, where there is one
(`native_adapt`): it needs no padding and no program.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.data.preferences import Bucket, Preferences, group_by_user, join_buckets
from lore_jax.model.model import Model, table_of_rewards
from lore_jax.model.posterior import POSTERIOR_ARRAYS, Posterior, population_posterior
from lore_jax.model.prior import Prior
from lore_jax.parallel.devices import filled_up, num_cores
from lore_jax.parallel.rounding import rounded
from lore_jax.solvers.likelihood import Likelihood
from lore_jax.users.native_adapt import native_solver

# 2^14 pairs times rank 8 in float32 are half a megabyte of features, which stays in a core's cache;
# an accelerator wants more at once.
_PAIRS_PER_CHUNK = {"cpu": 2**14, "accelerator": 2**22}
_FEW_PAIRS = 2**14  # solved in a few milliseconds, padding included; a program compiles in seconds
_LEAST_USERS = 64  # in a chunk: fewer cost as much
_USERS_PER_CALL = 2**13  # of the compiled solvers: what surrounds a call is then a hundredth of it


def adapt_user(
    model: Model,
    features: Float[Array, "shots rank *users"],
    pair_weight: Float[Array, "shots *users"],
    start: Float[Array, "rank *users"] | None = None,
) -> Posterior:
    """One user's weights and posterior from the features of the pairs the user compared.

    The prior's own solve: the mode of `sum_i c_i loss(f_i . w) - log prior(w)` and the Laplace
    covariance there; under a mixture prior, mean and covariance of the components' posteriors;
    under a simplex prior, the minimiser of the mean loss. Pure and jit-able. Users may ride along
    in trailing axes of every argument; the results then carry them in their trailing axes.

    Args:
        model: a fitted model (only its prior and likelihood are used).
        features: differences of `rewards` between chosen and rejected, `[shots, rank, ...]`.
        pair_weight: how much a pair counts, 0 for padding, `[shots, ...]`.
        start: weights to start from, `[rank, ...]`; None: the prior's mean.

    Returns:
        A `Posterior` of one user: `weights [rank, ...]`, `covariance [rank, rank, ...]`.

    Raises:
        ValueError: `start` is given and the prior cannot begin there.

    Example:
        >>> table = rewards(model, prefs.embeddings).table
        >>> features = table[prefs.chosen] - table[prefs.rejected]
        >>> adapt_user(model, features, jnp.ones(prefs.num_pairs)).weights.shape
        (3,)

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 5 (simplex).
    """
    along = jnp.moveaxis(model.prior.project(jnp.moveaxis(features, 1, -1)), -1, 0)
    result = model.prior.solve(along, pair_weight, start, model.likelihood)
    if result.covariance is None:
        rank, *users = result.weights.shape
        result = dataclasses.replace(result, covariance=jnp.zeros((rank, rank, *users)))
    return result


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
        ValueError: the table is of another width than the model's, `start` has more users than
            `prefs`, or the model's prior has no use for a start.

    Example:
        >>> posterior = adapt(model, shots)
        >>> bool(posterior.converged.all())
        True

    Reference:
        Bose et al. 2025, arXiv 2504.14439, section 3.3.
    """
    table = table_of_rewards(model, filled_up(prefs.embeddings))
    return adapt_rewards(model, table, prefs, start=start)


def adapt_rewards(
    model: Model, table: jax.Array, prefs: Preferences, *, start: Posterior | None = None
) -> Posterior:
    """The same as `adapt` for a table of rewards already computed by `rewards`."""
    if start is not None and start.num_users > prefs.num_users:
        raise ValueError(
            f"start has {start.num_users} users, the preferences have {prefs.num_users}"
        )
    if start is not None and not model.prior.warm_starts:
        raise ValueError(
            f"start is given, but a {type(model.prior).__name__} has no use for it: "
            "None is expected"
        )
    table = project(model.prior, table)
    platform = next(iter(table.devices())).platform
    out = _unfilled(model, prefs.num_users, prefs.user_ids)

    native = native_solver(model, table, prefs, out) if start is None else None

    def solve(
        users: np.ndarray, first: np.ndarray, count: np.ndarray, shots: int, chunk: int
    ) -> None:
        if native is not None:
            native(users, first, count)
            return
        padding = (0, chunk - len(users))  # chunks of one shape run the same program
        first, count = np.pad(first, padding), np.pad(count, padding)
        features, pair_weight = _padded_answers(table, prefs, first, count, shots)
        begin = None if start is None else _start_of(users, start, model, padding)
        solved = _adapt_chunk(model.prior, model.likelihood, features, pair_weight, begin)
        _fill(out, users, jax.device_get(solved))

    jobs, silent = [], np.ones(prefs.num_users, bool)
    for bucket in join_buckets(group_by_user(prefs), _worth_joining):
        silent[bucket.users] = False
        shots = padded_length(int(bucket.count.max()))
        chunk = _chunk_size(shots, len(bucket.users), platform)
        if native is not None:  # it has no use for small chunks; every core gets one
            chunk = min(_USERS_PER_CALL, -(-len(bucket.users) // num_cores()))
        for at in range(0, len(bucket.users), chunk):
            part = slice(at, at + chunk)
            jobs.append((bucket.users[part], bucket.first[part], bucket.count[part], shots, chunk))
    users = np.flatnonzero(silent)
    _fill(out, users, population_posterior(model, len(users)))
    # A chunk is small for the sake of a core's cache, too small to be divided: cores get chunks of
    # their own. On an accelerator the host prepares a chunk while another one is solved. The
    # default device is the caller's thread's.
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]

    def work(job: tuple[np.ndarray, np.ndarray, np.ndarray, int, int]) -> None:
        with jax.default_device(device):
            solve(*job)

    with ThreadPoolExecutor(num_cores() if platform == "cpu" else 2) as pool:
        for _ in pool.map(work, jobs):
            pass
    return out


def pad_answers(
    table: jax.Array, prefs: Preferences, users: Int[np.ndarray, " users"], shots: int
) -> tuple[jax.Array, Float[np.ndarray, "shots users"]]:
    """What `Prior.solve` takes, of some users, all padded to one length.

    Args:
        table: rewards along the prior's directions, `[responses, columns]`.
        prefs: the answers.
        users: which users; one may occur twice.
        shots: the padded length, at least the number of answers of each.

    Returns:
        Features `[columns, shots, users]` and pair weights, 0 for padding.

    Example:
        >>> table = model.prior.project(rewards(model, shots.embeddings).table)
        >>> features, pair_weight = pad_answers(table, shots, np.arange(3), 32)
        >>> features.shape
        (3, 32, 3)
    """
    bounds = np.searchsorted(prefs.user, np.stack([users, users + 1])).astype(np.int32)
    if not prefs.num_pairs:
        columns = table.shape[1], shots, len(users)
        return jnp.zeros(columns, table.dtype), np.zeros((shots, len(users)), np.float32)
    first = np.minimum(bounds[0], prefs.num_pairs - 1)
    return _padded_answers(table, prefs, first, bounds[1] - bounds[0], shots)


def _padded_answers(
    table: jax.Array, prefs: Preferences, first: np.ndarray, count: np.ndarray, shots: int
) -> tuple[jax.Array, np.ndarray]:
    ahead = np.arange(shots, dtype=np.int32)[:, None]
    pairs = first + np.minimum(ahead, np.maximum(count - 1, 0))
    pair_weight = np.where(ahead < count, prefs.pair_weight[pairs], np.float32(0.0))
    return differences(table, prefs.chosen[pairs], prefs.rejected[pairs]), pair_weight


def _worth_joining(longer: Bucket, bucket: Bucket) -> bool:
    """Few users are solved with those of more pairs: another program costs more than padding."""
    return (len(bucket.users) + len(longer.users)) * longer.shots <= _FEW_PAIRS


def padded_length(shots: int) -> int:
    """The next number with at most three binary digits: little padding, and few programs."""
    return rounded(shots, 3)


def _chunk_size(shots: int, users: int, platform: str) -> int:
    """How many users are solved together: as many as a core's cache, or an accelerator, holds."""
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


def _fill(out: Posterior, users: np.ndarray, solved: Posterior) -> None:
    """Writes the first `len(users)` rows; without covariance (simplex) `out` keeps its zeros."""
    for name in POSTERIOR_ARRAYS:
        if getattr(solved, name) is not None:
            getattr(out, name)[users] = getattr(solved, name)[: len(users)]


def _start_of(
    users: np.ndarray, start: Posterior, model: Model, padding: tuple[int, int]
) -> np.ndarray:
    """Where the users begin, `[rank, chunk]`: the prior's mean for those not in `start`."""
    mean = np.asarray(model.prior.mean)
    known = users < start.num_users
    begin = np.tile(mean, (len(users), 1))
    begin[known] = np.asarray(start.weights)[users[known]]
    return np.pad(begin, (padding, (0, 0))).T


@jax.jit
def project(prior: Prior, table: Float[Array, "rows rank"]) -> Float[Array, "rows columns"]:
    """`Prior.project` of a table of rewards, as a program: what `pad_answers` takes."""
    return prior.project(table)


@jax.jit
def differences(table: jax.Array, chosen: jax.Array, rejected: jax.Array) -> jax.Array:
    """`[responses, columns]` and rows `[shots, users]` -> features `[columns, shots, users]`.

    A program of its own, quick to compile: the solver's then serves tables of any length.
    """
    # The rows were checked when the preferences were made.
    pairs = [table.at[rows].get(mode="promise_in_bounds") for rows in (chosen, rejected)]
    return jnp.moveaxis(pairs[0] - pairs[1], 2, 0)


@jax.jit
def _adapt_chunk(
    prior: Prior,
    likelihood: Likelihood,
    along: jax.Array,
    pair_weight: jax.Array,
    start: jax.Array | None,
) -> Posterior:
    """`along [columns, shots, users]`, `start [rank, users]` -> a posterior with users in front."""
    solved = prior.solve(along, pair_weight, start, likelihood)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), solved)
