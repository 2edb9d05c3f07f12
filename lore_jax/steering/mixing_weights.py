"""What each adapter is multiplied by for a user, and how the products are put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

MergeMethod = Literal["linear", "cat", "svd"]
Weighting = Literal["simplex", "softmax", "signed"]

_SUM_TOLERANCE = 1e-3  # of float16 weights that were rounded


@dataclasses.dataclass(frozen=True)
class MergeConfig:
    """How adapters are merged.

    Attributes:
        method: linear, cat or svd (see `lore_jax/steering/merge.py`): cat is the exact sum of what
            the adapters change, at the sum of their ranks.
        weighting: what users' weights are. simplex: 0 or more, of sum 1. softmax: of any size,
            turned into shares by a softmax. signed: taken as they are.
        temperature: weights are divided by it before the softmax.
        top_k: how many adapters a user keeps, those of the largest weight in size; shares are made
            to sum to 1 again. None: all.
        rank: of the merged adapters, for svd; None: the first adapter's.
    """

    method: MergeMethod = "cat"
    weighting: Weighting = "simplex"
    temperature: float = 1.0
    top_k: int | None = None
    rank: int | None = None

    def __post_init__(self) -> None:
        """Checks the values."""
        for name, kind in (("method", MergeMethod), ("weighting", Weighting)):
            if (value := getattr(self, name)) not in get_args(kind):
                raise ValueError(f"{name} is {value!r}: one of {get_args(kind)} is expected")
        if not 0.0 < self.temperature < np.inf:
            raise ValueError(f"temperature is {self.temperature}: a positive number is expected")
        for name in ("top_k", "rank"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}: 1 or more is expected")
        if self.rank is not None and self.method != "svd":
            raise ValueError(
                f"rank is {self.rank}: only svd takes one, the method is {self.method}"
            )
        if self.temperature != 1.0 and self.weighting != "softmax":
            text = f"temperature is {self.temperature}: only softmax takes one"
            raise ValueError(f"{text}, the weighting is {self.weighting}")


def mixing_weights(
    weights: Float[np.ndarray, "users adapters"],
    config: MergeConfig,
    user_ids: Sequence[object] | None = None,
) -> Float[np.ndarray, "users adapters"]:
    """What each adapter is multiplied by, for every user.

    Args:
        weights: of the users, one column an adapter.
        config: how they are to be read.
        user_ids: names, for messages; None: their positions.

    Returns:
        Weights `[users, adapters]`, float32.

    Raises:
        ValueError: a user's weights are not finite, are all 0, or are no shares of sum 1 where they
            must be; the message names the user. Or `top_k` exceeds the adapters.

    Example:
        >>> mixing_weights(np.array([[2.0, 0.0, 0.0]]), MergeConfig(weighting="softmax", top_k=1))
        array([[1., 0., 0.]], dtype=float32)
    """
    weights = np.asarray(weights, np.float64)
    adapters = weights.shape[1]
    if config.top_k is not None and config.top_k > adapters:
        raise ValueError(f"top_k is {config.top_k}: at most {adapters}, the adapters, is expected")
    name = (lambda user: str(user)) if user_ids is None else (lambda user: repr(user_ids[user]))

    def refuse(bad: np.ndarray, expected: str) -> None:
        if len(found := np.flatnonzero(bad)):
            own = ", ".join(f"{value:.4g}" for value in weights[found[0]][:8])
            raise ValueError(f"user {name(found[0])} has weights {own}: {expected}")

    refuse(np.any(~np.isfinite(weights), axis=1), "finite numbers are expected")
    if config.weighting == "softmax":
        scaled = weights / config.temperature
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
    elif config.weighting == "simplex":
        off = np.abs(weights.sum(axis=1) - 1.0) > _SUM_TOLERANCE
        expected = "0 or more and a sum of 1 are expected (weighting softmax or signed takes any)"
        refuse(off | (weights < -_SUM_TOLERANCE).any(axis=1), expected)
        weights = np.maximum(weights, 0.0)
    refuse((weights == 0.0).all(axis=1), "at least one that is not 0 is expected")
    if config.top_k is not None:
        order = np.argsort(-np.abs(weights), axis=1, kind="stable")
        kept = np.zeros_like(weights)
        np.put_along_axis(kept, order[:, : config.top_k], 1.0, axis=1)
        weights = weights * kept
        if config.weighting != "signed":
            weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)
