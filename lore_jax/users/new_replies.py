"""Rewards of replies that no table holds, by one program whatever their number."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float

from lore_jax.data.checks import check_table
from lore_jax.model.model import Model, rewards

_AT_A_TIME = 16


def rewards_of_new(
    model: Model, embeddings: Float[np.ndarray | Array, "replies dim"]
) -> Float[np.ndarray, "replies rank"]:
    """`rewards`, sixteen replies at a time, on the host.

    Args:
        model: a fitted model.
        embeddings: of the replies, by the encoder of the fit.

    Returns:
        One row of rewards a reply.

    Raises:
        ValueError: the embeddings are not finite, or not as wide as those of the fit.

    Example:
        >>> rewards_of_new(model, prefs.embeddings[:20]).shape
        (20, 3)
    """
    table = np.asarray(check_table(embeddings), np.float32)
    parts = []
    for at in range(0, len(table), _AT_A_TIME):
        block = table[at : at + _AT_A_TIME]
        padded = np.pad(block, ((0, _AT_A_TIME - len(block)), (0, 0)))
        parts.append(np.asarray(rewards(model, padded).table)[: len(block)])
    return np.concatenate(parts)
