"""Attention inside packed rows: several texts share a row, and none attends to another.

A row holds items one after the other. An item is a text, or a prompt with several replies to it:
branch 0 is what they share, branches 1, 2, ... are the replies, each of which attends to branch 0
and to itself. A shared prompt is computed once.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

# Queries are taken in blocks, so that the logits of long rows, [rows, heads, block, length], are
# never held all at once.
_QUERY_BLOCK = 512


class PackedTokens(NamedTuple):
    """Rows of tokens, every array int32 `[rows, length]`, NumPy or JAX.

    Attributes:
        token: the token's number in the vocabulary.
        position: its position in its own text, from 0.
        item: which item of the row it belongs to, from 0; -1 in the unused end of a row.
        branch: 0 for what an item's texts share, from 1 on for each text's own part.
    """

    token: Int[np.ndarray | jax.Array, "rows length"]
    position: Int[np.ndarray | jax.Array, "rows length"]
    item: Int[np.ndarray | jax.Array, "rows length"]
    branch: Int[np.ndarray | jax.Array, "rows length"]


def packed_attention(
    query: Float[jax.Array, "rows length heads head_dim"],
    key: Float[jax.Array, "rows length kv_heads head_dim"],
    value: Float[jax.Array, "rows length kv_heads head_dim"],
    tokens: PackedTokens,
    *,
    causal: bool,
    scale: float,
    window: Int[jax.Array, ""] | None = None,
    softcap: float | None = None,
    by_distance: Float[jax.Array, "distances heads"] | None = None,
) -> Float[jax.Array, "rows length heads head_dim"]:
    """Attention of every token to the tokens of its own text.

    Args:
        query: the queries.
        key: the keys; each is used by `heads / kv_heads` query heads.
        value: as `key`.
        tokens: the packed rows.
        causal: a token attends to itself and to tokens before it only.
        scale: what the dot products are multiplied by.
        window: how many tokens back a token attends to, itself included; scalar. None: all.
        softcap: logits become `softcap * tanh(logits / softcap)`. None: they stay.
        by_distance: what is added to a head's logit for a key so many tokens after the query, the
            distance 0 in the middle; beyond its ends the ends count. None: nothing.
    """
    length = query.shape[1]
    blocks = []
    for start in range(0, length, _QUERY_BLOCK):
        stop = min(start + _QUERY_BLOCK, length)
        keys = stop if causal else length
        mask = _visible(tokens, start, stop, keys, causal, window)
        parts = query[:, start:stop], key[:, :keys], value[:, :keys]
        bias = None
        if by_distance is not None:
            position = jnp.asarray(tokens.position)
            distance = position[:, None, :keys] - position[:, start:stop, None]
            middle = len(by_distance) // 2
            bias = by_distance[jnp.clip(distance + middle, 0, len(by_distance) - 1)]
            bias = jnp.moveaxis(bias, 3, 1)
        blocks.append(_attend(*parts, mask, scale, softcap, bias))
    return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=1)


def _visible(
    tokens: PackedTokens, start: int, stop: int, keys: int, causal: bool, window: jax.Array | None
) -> Bool[jax.Array, "rows 1 queries keys"]:
    """Which of the first `keys` tokens each token from `start` to `stop` attends to."""

    def pairs(array: np.ndarray | jax.Array) -> tuple[jax.Array, jax.Array]:
        array = jnp.asarray(array)
        return array[:, start:stop, None], array[:, None, :keys]

    item, other_item = pairs(tokens.item)
    visible = item == other_item
    if causal:
        branch, other_branch = pairs(tokens.branch)
        before = jnp.arange(start, stop)[:, None] >= jnp.arange(keys)[None, :]
        visible &= ((other_branch == 0) | (other_branch == branch)) & before[None]
    if window is not None:
        position, other_position = pairs(tokens.position)
        visible &= position - other_position < window
    return visible[:, None]


def _attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array,
    scale: float,
    softcap: float | None,
    bias: jax.Array | None,
) -> jax.Array:
    if softcap is None:
        return jax.nn.dot_product_attention(query, key, value, bias, mask, scale=scale)
    # Gemma 2 caps its logits, which jax.nn.dot_product_attention does not do.
    rows, queries, heads, head_dim = query.shape
    grouped = query.reshape(rows, queries, key.shape[2], -1, head_dim)
    logits = jnp.einsum("rqkgh,rskh->rkgqs", grouped, key, preferred_element_type=jnp.float32)
    logits = softcap * jnp.tanh(logits * scale / softcap)
    shares = jax.nn.softmax(jnp.where(mask[:, None], logits, -jnp.inf), axis=-1).astype(value.dtype)
    return jnp.einsum("rkgqs,rskh->rqkgh", shares, value).reshape(rows, queries, heads, head_dim)
