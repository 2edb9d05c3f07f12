"""Every user's rewards of candidate responses, or the best few of them."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior
from lore_jax.parallel.devices import on_one_cpu


def score(
    model: Model,
    posterior: Posterior,
    embeddings: Any,
    candidates: Any = None,
    *,
    top_k: int | None = None,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Every user's reward of candidate responses, or the best few of them.

    `r_u(c) = w_u . R(e_c) / temperature`

    Args:
        model: a fitted model.
        posterior: of the users.
        embeddings: table of the candidates, `[responses, dim]`.
        candidates: rows of the table: `[c]`, the same for everybody, or `[users, c]`; None: the
            whole table.
        top_k: None for all scores, or how many of the best to return.

    Returns:
        Scores `[users, c]` in logits; with `top_k`, the best scores `[users, top_k]`, highest
        first, and their rows in the table. Only differences between the scores of one prompt mean
        anything.

    Raises:
        ValueError: a candidate is not in the table, `candidates` has another number of users, or
            `top_k` exceeds c.

    Example:
        >>> best, rows = score(model, posterior, embeddings, top_k=3)
    """
    count = embeddings.shape[0]
    rows = np.arange(count, dtype=np.int32) if candidates is None else np.asarray(candidates)
    if rows.ndim not in (1, 2) or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(
            f"candidates has dtype {rows.dtype} and shape {rows.shape}: integers [c] or [users, c] are expected"
        )
    if rows.ndim == 2 and len(rows) != posterior.num_users:
        raise ValueError(
            f"candidates is for {len(rows)} users, the posterior has {posterior.num_users}"
        )
    if rows.size and (rows.min() < 0 or rows.max() >= count):
        bad = rows[(rows < 0) | (rows >= count)][0]
        raise ValueError(f"candidates holds {bad}, outside a table of {count} responses")
    if top_k is not None and not 1 <= top_k <= rows.shape[-1]:
        raise ValueError(
            f"top_k is {top_k}: 1 to {rows.shape[-1]}, the number of candidates, is expected"
        )
    table = rewards(model, embeddings).table
    if top_k is None:
        return _score_in_parts(table, np.asarray(posterior.weights), rows)
    values, rows = _best(table, posterior.weights, rows, top_k)
    return np.asarray(values), np.asarray(rows)


_SCORES_AT_A_TIME = 1 << 19  # 2 MB


def _score_in_parts(table: jax.Array, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some users at a time, into two buffers by turns: one is copied to the result while the other
    is filled.

    So the device never holds all scores. On a CPU it is also faster: what takes long about an array
    of 40 MB is not the product but the first use of its pages (`benchmarks/README.md`); NumPy asks
    for large ones, XLA does not.
    """
    users, candidates = len(weights), rows.shape[-1]
    out = np.empty((users, candidates), jnp.result_type(table.dtype, weights.dtype))
    if not out.size:
        return out
    own = rows if rows.ndim == 2 else None
    if own is None:
        table = table[rows]  # once, and not for every part
    size = max(1, min(users, _SCORES_AT_A_TIME // candidates))
    starts = [
        min(start, users - size) for start in range(0, users, size)
    ]  # the last sooner: all have one shape
    free = [jnp.zeros((size, candidates), out.dtype) for _ in starts[:2]]
    filled: list[tuple[slice, jax.Array]] = []
    for start in starts:
        part = slice(start, start + size)
        filled.append(
            (part, _score(table, weights[part], None if own is None else own[part], free.pop()))
        )
        if not free:
            first, scores = filled.pop(0)
            out[first] = _view(scores)
            free.append(scores)
    for part, scores in filled:
        out[part] = _view(scores)
    return out


def _view(scores: jax.Array) -> np.ndarray:
    """The numbers on the host.

    On a CPU not by `np.asarray`: the array keeps that view, and its buffer is never free.
    """
    scores.block_until_ready()
    if not on_one_cpu(scores):
        return np.asarray(scores)
    return np.from_dlpack(scores)  # pyright: ignore[reportArgumentType]


@functools.partial(jax.jit, donate_argnums=3, keep_unused=True)
def _score(
    table: jax.Array, weights: jax.Array, own: jax.Array | None, buffer: jax.Array
) -> jax.Array:
    """Scores of the whole table, or of each user's own rows of it; they take the place of `buffer`."""
    if own is None:
        return weights @ table.T
    return jnp.einsum("uck,uk->uc", table[own], weights)


@functools.partial(jax.jit, static_argnums=3)
def _best(
    table: jax.Array, weights: jax.Array, rows: jax.Array, top_k: int
) -> tuple[jax.Array, jax.Array]:
    """One user at a time in batches: the matrix `[users, c]` is never whole."""

    def one(user: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        mine = user[1] if rows.ndim == 2 else rows
        values, place = jax.lax.top_k(table[mine] @ user[0], top_k)
        return values, mine[place]

    return jax.lax.map(one, (weights, rows) if rows.ndim == 2 else (weights,), batch_size=1024)
