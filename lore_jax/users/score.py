"""Every user's rewards of candidate responses, or the best few of them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior
from lore_jax.parallel.devices import view_on_host


def score(
    model: Model,
    posterior: Posterior,
    embeddings: Float[Array | np.ndarray, "responses dim"],
    candidates: ArrayLike | None = None,
) -> Float[np.ndarray, "users c"]:
    """Every user's reward of candidate responses.

    `r_u(c) = w_u . R(e_c) / temperature`

    Args:
        model: a fitted model.
        posterior: of the users.
        embeddings: table of the candidates, `[responses, dim]`.
        candidates: rows of the table: `[c]`, the same for everybody, or `[users, c]`; None: the
            whole table.

    Returns:
        Scores `[users, c]` in logits. Only differences between the scores of one prompt mean
        anything.

    Raises:
        ValueError: a candidate is not in the table or has a reward that is not finite, or
            `candidates` has another number of users.

    Example:
        >>> score(model, posterior, prefs.embeddings, candidates=[0, 1]).shape[1]
        2
    """
    rows = checked_rows(candidates, posterior.num_users, embeddings.shape[0])
    table = rewards(model, embeddings).table
    refuse_unusable(table, rows)
    return _score_in_parts(table, np.asarray(posterior.weights), rows)


def top_k(
    model: Model,
    posterior: Posterior,
    embeddings: Float[Array | np.ndarray, "responses dim"],
    k: int,
    candidates: ArrayLike | None = None,
) -> tuple[Float[np.ndarray, "users k"], Int[np.ndarray, "users k"]]:
    """Every user's best few of candidate responses; the matrix of all scores is never formed.

    Args:
        model: a fitted model.
        posterior: of the users.
        embeddings: table of the candidates, `[responses, dim]`.
        k: how many of the best.
        candidates: as in `score`.

    Returns:
        The best scores in logits, highest first, and their rows in the table, `[users, k]`.

    Raises:
        ValueError: as `score`; or k exceeds the number of candidates.

    Example:
        >>> scores, rows = top_k(model, posterior, prefs.embeddings, 3)
        >>> rows.shape[1]
        3
    """
    rows = checked_rows(candidates, posterior.num_users, embeddings.shape[0])
    if not 1 <= k <= rows.shape[-1]:
        raise ValueError(f"k is {k}: 1 to {rows.shape[-1]}, the number of candidates, is expected")
    table = rewards(model, embeddings).table
    refuse_unusable(table, rows)
    values, rows = _best(table, posterior.weights, rows, k)
    return np.asarray(values), np.asarray(rows)


def checked_rows(
    candidates: ArrayLike | None, users: int, count: int
) -> Int[np.ndarray, "*users c"]:
    """The candidates' rows in a table of `count` responses, `[c]` or `[users, c]`.

    Raises:
        ValueError: they are no rows of the table, or of another number of users.
    """
    rows = np.arange(count, dtype=np.int32) if candidates is None else np.asarray(candidates)
    if rows.ndim not in (1, 2) or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(
            f"candidates has dtype {rows.dtype} and shape {rows.shape}: "
            "integers [c] or [users, c] are expected"
        )
    if rows.ndim == 2 and len(rows) != users:
        raise ValueError(f"candidates is for {len(rows)} users, the posterior has {users}")
    if rows.size and (rows.min() < 0 or rows.max() >= count):
        bad = rows[(rows < 0) | (rows >= count)][0]
        raise ValueError(f"candidates holds {bad}, outside a table of {count} responses")
    return rows


def refuse_unusable(
    table: Float[Array, "responses rank"], rows: Int[np.ndarray, "*users c"]
) -> None:
    """Refuses a candidate whose reward is not finite: NaN would be ranked first, for everybody.

    Args:
        table: rewards of the responses.
        rows: the candidates', `[c]` or `[users, c]`.

    Raises:
        ValueError: names the candidate by its row.
    """
    bad = np.flatnonzero(~np.isfinite(np.asarray(table)).all(axis=1))
    if len(bad) and (hit := np.argwhere(np.isin(rows, bad))).size:
        place = tuple(hit[0].tolist())
        where = f"candidate {place[-1]}" + (f" of user {place[0]}" if len(place) > 1 else "")
        raise ValueError(
            f"{where}, row {rows[place]} of the embeddings, has a reward that is not finite: "
            "is there NaN in its embedding?"
        )


_SCORES_AT_A_TIME = 1 << 19  # 2 MB


def _score_in_parts(table: jax.Array, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some users at a time, so that a device never holds all scores.

    Those of shared candidates are made by NumPy, where they are wanted: a product of so few columns
    takes as long as writing it, and XLA's would be written twice. Rows of a user's own are gathered
    while they are multiplied, which is XLA's.
    """
    users, candidates = len(weights), rows.shape[-1]
    out = np.empty((users, candidates), jnp.result_type(table.dtype, weights.dtype))
    if not out.size:
        return out
    size = max(1, min(users, _SCORES_AT_A_TIME // candidates))
    starts = range(0, users, size)
    if rows.ndim == 1:
        columns = np.asarray(table)[rows].T
        for part in (slice(start, start + size) for start in starts):
            np.matmul(weights[part], columns, out=out[part])
        return out
    for start in (min(start, users - size) for start in starts):  # the last sooner: one shape
        part = slice(start, start + size)
        out[part] = view_on_host(_score_own(table, weights[part], rows[part]))
    return out


@jax.jit
def _score_own(table: jax.Array, weights: jax.Array, own: jax.Array) -> jax.Array:
    """Scores of each user's own rows of the table."""
    return jnp.einsum("uck,uk->uc", table[own], weights)


@functools.partial(jax.jit, static_argnums=3)
def _best(
    table: jax.Array, weights: jax.Array, rows: jax.Array, k: int
) -> tuple[jax.Array, jax.Array]:
    """One user at a time in batches: the matrix `[users, c]` is never whole."""

    def one(user: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        own = user[1] if rows.ndim == 2 else rows
        values, index = jax.lax.top_k(table[own] @ user[0], k)
        return values, own[index]

    return jax.lax.map(one, (weights, rows) if rows.ndim == 2 else (weights,), batch_size=1024)
