"""Several likelihoods at once: a user who compares, ranks and rates is one problem of many entries.

Entries of one kind stand together along the first axis; each stretch has its own likelihood.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.solvers.likelihood import Likelihood


@flax.struct.dataclass
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

    parts: tuple[Likelihood, ...]
    sizes: tuple[int, ...] = flax.struct.field(pytree_node=False)

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

    def _join(self, function: Callable[..., Array], *arrays: Array) -> Array:
        out, start = [], 0
        for part, size in zip(self.parts, self.sizes, strict=True):
            out.append(function(part, *[array[start : start + size] for array in arrays]))
            start += size
        return out[0] if len(out) == 1 else jnp.concatenate(out)
