"""Candidate replies: their rewards, and joint draws of all that is not known of them.

A user's reward of candidate i is `r_i = w . R_i`, and three things in it are not known: the user's
weights, the basis (`model.basis_posterior`), and what a response that nobody judged has of its own.
The best of many is picked *because* its reward looks high, so its error is likely to be positive:
the winner's curse. It is seen only where errors of different replies are drawn as they hang
together, so a draw is one of the whole model,

    w ~ N(weights, S),    R_ik = V_k' e_i + T_i . d_k + tau_ik n_ik,    d_k, n_ik ~ N(0, I),

with `d_k` shared by all replies and all users (a wrong basis is wrong for everybody), `n_ik` by all
users. Then `Cov[r_i, r_j] = R_i' S R_j + sum_k E[w_k^2] (T_i . T_j + [i = j] tau_ik^2)`, as in the
margins of pairs (`users/predict.py`).

Only differences of the rewards of one prompt mean anything; what is said of a reply is said against
another one, the population's pick.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key

from lore_jax.model.basis_posterior import KINDS
from lore_jax.model.model import Model, Rewards, response_keys, rewards
from lore_jax.users.score import checked_rows, refuse_unusable

_LEAST_RESPONSES = 8
_USERS_AT_A_TIME = 256


class Candidates(NamedTuple):
    """The replies among which is picked.

    Attributes:
        rewards: of the distinct responses among them, equal embeddings being one response; some
            more rows than that, so that programs are shared.
        index: each candidate's row in `rewards`, int32 `[c]`, or `[users, c]`.
        rows: each candidate's row in the embeddings, likewise.
        population: position of the population's pick among the candidates, int32 `[1]`, or
            `[users]`.
    """

    rewards: Rewards
    index: Int[Array | np.ndarray, "*users c"]
    rows: Int[np.ndarray, "*users c"]
    population: Int[np.ndarray, " some"]


def find_candidates(
    model: Model, embeddings: Any, candidates: ArrayLike | None, num_users: int
) -> Candidates:
    """Rewards of the distinct candidates, and which of them the population would pick.

    Args:
        model: a fitted model.
        embeddings: table of responses, `[responses, dim]`.
        candidates: rows of the table, `[c]`, the same for everybody, or `[users, c]`; None: the
            whole table.
        num_users: how many users pick.

    Returns:
        The `Candidates`. Where the population holds several to be equally good, its pick is the
        first of them.

    Raises:
        ValueError: there is no candidate, one is not in the table or not finite, or they are for
            another number of users.

    Example:
        >>> find_candidates(model, prefs.embeddings, [4, 2, 4], 12).index.tolist()
        [1, 0, 1]
    """
    rows = checked_rows(candidates, num_users, embeddings.shape[0])
    if not rows.shape[-1]:
        raise ValueError("there are 0 candidates: 1 or more is expected")
    if not num_users:
        raise ValueError("there are 0 users: 1 or more is expected")
    used, index = np.unique(rows, return_inverse=True)
    table = np.asarray(embeddings[used])
    _, first, same = np.unique(
        np.ascontiguousarray(response_keys(table)).view(np.uint64)[:, 0],
        return_index=True,
        return_inverse=True,
    )
    order = np.argsort(first, kind="stable")  # responses in the order of their rows
    rank_of = np.empty_like(order)
    rank_of[order] = np.arange(len(order))
    index = rank_of[same.reshape(-1)][index.reshape(-1)].reshape(rows.shape).astype(np.int32)
    distinct = table[first[order]]
    spare = max(_LEAST_RESPONSES, 1 << (len(distinct) - 1).bit_length()) - len(distinct)
    known = rewards(model, np.concatenate([distinct, np.repeat(distinct[:1], spare, axis=0)]))
    by_row = np.full((used[-1] + 1, model.rank), 0.0, np.float32)
    by_row[rows.reshape(-1)] = np.asarray(known.table)[index.reshape(-1)]
    refuse_unusable(jnp.asarray(by_row), rows)
    scores = np.asarray(known.table) @ np.asarray(model.prior.mean)
    population = np.atleast_1d(np.argmax(scores[index], axis=-1)).astype(np.int32)
    return Candidates(known, index, rows, population)


class Moments(NamedTuple):
    """What is known of users' rewards of candidates, in logits, `[users, c]` each.

    Attributes:
        gain: mean of the reward above that of the population's pick.
        gain_sd: its standard deviation; 0 at the population's pick.
        spread: standard deviation of the reward above the mean of the candidates.
    """

    gain: Float[np.ndarray, "users c"]
    gain_sd: Float[np.ndarray, "users c"]
    spread: Float[np.ndarray, "users c"]


def moments(
    candidates: Candidates,
    weights: Float[Array | np.ndarray, "users rank"],
    covariance: Float[Array | np.ndarray, "users rank rank"],
) -> Moments:
    """Means and standard deviations of every candidate's reward against the others.

    Against the population's pick they are those of the margin of both (`moments_of_margins`): `f .
    E[w]` and `f' S f + sum_k E[w_k^2] (|T_i - T_0|^2 + tau_i^2 + tau_0^2)`; against the mean of the
    candidates, f and T are differences from their means, and a reply's own part has the variance
    `(1 - 2 p_i) tau_i^2 + sum_j p_j^2 tau_j^2`, p the share of the candidates that are that reply.

    Args:
        candidates: by `find_candidates`.
        weights: of the users.
        covariance: of their weights.

    Returns:
        The `Moments`.

    Example:
        >>> some = find_candidates(model, prefs.embeddings, [0, 1, 2], 12)
        >>> moments(some, posterior.weights, posterior.covariance).gain.shape
        (12, 3)
    """
    return Moments(
        *map(
            np.asarray,
            _moments(
                candidates.rewards, candidates.index, candidates.population, weights, covariance
            ),
        )
    )


@jax.jit
def _moments(
    rewards: Rewards, index: Array, population: Array, weights: Array, covariance: Array
) -> tuple[Array, Array, Array]:
    users = weights, covariance
    if index.ndim == 1:
        own, reference = index, index[population[0]]
        return jax.lax.map(
            lambda user: _moments_of_user(rewards, own, reference, *user),
            users,
            batch_size=_USERS_AT_A_TIME,
        )
    return jax.lax.map(
        lambda user: _moments_of_user(rewards, user[2], user[2][user[3]], *user[:2]),
        (*users, index, population),
        batch_size=_USERS_AT_A_TIME,
    )


def _moments_of_user(
    rewards: Rewards, index: Array, reference: Array, weights: Array, covariance: Array
) -> tuple[Array, Array, Array]:
    table, coordinates = rewards.table[index], rewards.coordinates[:, index]
    second_moment = weights**2 + jnp.diagonal(covariance)
    of_kinds = jnp.stack([second_moment[0], second_moment[1:].sum()])
    own = rewards.variance[index] @ second_moment
    share = jnp.mean((index[:, None] == index[None]).astype(own.dtype), axis=1)

    def spread(features: Array, apart: Array, own: Array) -> Array:
        variance = own + jnp.einsum("ck,kl,cl->c", features, covariance, features)
        variance += of_kinds @ jnp.sum(apart**2, axis=2)
        return jnp.sqrt(jnp.maximum(variance, 0.0))

    above = table - rewards.table[reference][None]
    own_of_both = own + rewards.variance[reference] @ second_moment
    apart = coordinates - rewards.coordinates[:, reference][:, None]
    gain_sd = spread(above, apart, jnp.where(index == reference, 0.0, own_of_both))
    # A sum over candidates, of which several may be one reply: p_j^2 is p_j / c of each.
    own_of_mean = (1.0 - 2.0 * share) * own + jnp.mean(share * own)
    centred = table - table.mean(axis=0, keepdims=True)
    apart = coordinates - coordinates.mean(axis=1, keepdims=True)
    return above @ weights, gain_sd, spread(centred, apart, own_of_mean)


def draw_rewards(
    candidates: Candidates,
    weights: Float[Array | np.ndarray, "users rank"],
    root: Float[Array, "users rank rank"],
    key: Key[Array, ""],
) -> Float[Array, "users c"]:
    """One draw of the whole model: every user's rewards of the candidates, in logits.

    Pure and jit-able; the basis and the responses' own parts are the same for all users.

    Args:
        candidates: by `find_candidates`.
        weights: of the users.
        root: of their covariance (`covariance_root`).
        key: the one source of randomness.

    Returns:
        Rewards `[users, c]`.

    Example:
        >>> some = find_candidates(model, prefs.embeddings, [0, 1], 12)
        >>> root = jnp.zeros((12, 3, 3))
        >>> draw_rewards(some, posterior.weights, root, jax.random.key(0)).shape
        (12, 2)
    """
    known, index = candidates.rewards, candidates.index
    key_weights, key_basis, key_own = jax.random.split(key, 3)
    rank, q = known.table.shape[1], known.coordinates.shape[2]
    own = jax.random.normal(key_own, known.table.shape)
    table = known.table + jnp.sqrt(known.variance) * own
    if q:
        directions = jax.random.normal(key_basis, (rank, q))
        kind = np.minimum(np.arange(rank), KINDS - 1)
        table += jnp.einsum("knq,kq->nk", known.coordinates[kind], directions)
    noise = jax.random.normal(key_weights, weights.shape)
    drawn = weights + jnp.einsum("urk,uk->ur", root, noise)
    if index.ndim == 1:
        return jnp.einsum("ck,uk->uc", table[index], drawn)
    return jnp.einsum("uck,uk->uc", table[index], drawn)
