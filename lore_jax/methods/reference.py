"""The reference head: the reward model's own judgement, for everybody, with nothing learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, Stage
from lore_jax.methods.shared_direction import Direction, SharedDirection
from lore_jax.parallel.buckets import FitData


@dataclasses.dataclass(frozen=True)
class ReferenceConfig(SharedDirection):
    """Rank 0 of LoRe: the score head that came with the embeddings.

    Example:
        >>> ReferenceConfig().num_steps([])
        0
    """

    def stages(self, prefs: Preferences) -> list[Stage]:
        """Nothing is chosen."""
        if prefs.head is None:
            raise ValueError("the reference head is asked for, but the preferences have none")
        return []

    def input_scale(self, prefs: Preferences) -> float:
        """The head reads embeddings as they are."""
        return 1.0

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Float[Array, " dim"]]:
        """The head."""
        return [jnp.asarray(prefs.head, jnp.float32)] * len(choices)

    def init(self, data: FitData, hyper: Float[Array, " dim"], *, key: jax.Array) -> Direction:
        """The head."""
        return Direction(hyper, jnp.zeros(1))
