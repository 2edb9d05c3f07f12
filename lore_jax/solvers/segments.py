"""Several likelihoods at once: a user who compares, ranks and rates is one problem of many entries.

Entries of one kind stand together along the first axis; each stretch has its own likelihood.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.parallel.pytree import pytree, static
from lore_jax.solvers.likelihood import (
    AnswerLikelihood,
    Likelihood,
    largest_move,
    newton_sums,
)
from lore_jax.solvers.pair_sums import sums_over_pairs


@pytree
class Segments:
    """Likelihoods of stretches of a margin's first axis.

    Attributes:
        parts: one likelihood a stretch.
        sizes: how many entries each has (static).

    Example:
        >>> from lore_jax.solvers.likelihood import LOGISTIC
        >>> both = Segments((LOGISTIC, LOGISTIC), (2, 1))
        >>> both.loss(jnp.zeros(3)).shape
        (3,)
    """

    parts: tuple[Likelihood | AnswerLikelihood, ...]
    sizes: tuple[int, ...] = static()

    @property
    def concordance(self) -> float | None:
        """The largest of the parts': a sum keeps the inequality."""
        known = [part.concordance for part in self.parts]
        return None if None in known else max(value for value in known if value is not None)

    @property
    def ceiling(self) -> float:
        """The largest of the parts'."""
        return max(part.ceiling for part in self.parts)

    def loss(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """Each part's."""
        return self._join(lambda part, z: part.loss(z), margin)

    def slope(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """Each part's."""
        return self._join(lambda part, z: part.slope(z), margin)

    def curvature(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """Each part's."""
        return self._join(lambda part, z: part.curvature(z), margin)

    def predictive(
        self, mean: Float[Array, "entries *any"], variance: Float[Array, "entries *any"]
    ) -> Float[Array, "entries *any"]:
        """Each part's."""
        return self._join(lambda part, z, v: part.predictive(z, v), mean, variance)

    def move(self, along: Float[Array, "entries *any"]) -> Float[Array, "*any"]:
        """The largest of the parts'."""
        moves = [
            largest_move(part, own) for part, own in zip(self.parts, self._cut(along), strict=True)
        ]
        return functools.reduce(jnp.maximum, moves)

    def sums(
        self,
        features: Float[Array, "k entries *any"],
        margin: Float[Array, "entries *any"],
        weight: Float[Array, "entries *any"],
    ) -> tuple[Float[Array, "k *any"], Float[Array, "k k *any"]]:
        """The sum of the parts'."""
        if not any(isinstance(part, AnswerLikelihood) for part in self.parts):
            pull = -weight * self.slope(margin)
            return sums_over_pairs(features, pull, weight * self.curvature(margin))
        sums, at = [], 0
        for part, size in self._joined():
            own = slice(at, at + size)
            sums.append(newton_sums(part, features[:, own], margin[own], weight[own]))
            at += size
        return functools.reduce(functools.partial(jax.tree.map, jnp.add), sums)

    def _joined(self) -> list[tuple[Likelihood | AnswerLikelihood, int]]:
        """The parts and their sizes; neighbours that one loop over entries can add up are one."""
        joined: list[tuple[Likelihood | AnswerLikelihood, int]] = []
        several = zip(self.parts, self.sizes, strict=True)
        for alone, group in itertools.groupby(
            several, key=lambda own: isinstance(own[0], AnswerLikelihood)
        ):
            own = list(group)
            if not alone and len(own) > 1:
                parts, sizes = zip(*own, strict=True)
                own = [(Segments(parts, sizes), sum(sizes))]
            joined += own
        return joined

    def _cut(self, array: Array) -> list[Array]:
        """The stretch of each part."""
        return jnp.split(array, np.cumsum(self.sizes)[:-1])

    def _join(self, function: Callable[..., Array], *arrays: Array) -> Array:
        stretches = [self._cut(array) for array in arrays]
        out = [function(part, *own) for part, *own in zip(self.parts, *stretches, strict=True)]
        return out[0] if len(out) == 1 else jnp.concatenate(out)
