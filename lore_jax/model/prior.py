"""What holds of users before they have said anything, and of responses beyond their text."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax

from lore_jax.solvers.mixture import Mixture


@flax.struct.dataclass
class Population:
    """What holds of a user's weights before the user has said anything: `w = mean + factor d`.

    d has mean 0 and covariance I: it is N(0, I) itself, or, where users fall into components, a mixture
        with these moments.

    The covariance is kept as a factor because it is singular: the population direction of the
    gaussian family has weight exactly 1 for everybody, and rank-1 (Bradley-Terry) and simplex
    models have no spread at all.

    Attributes:
        mean: mean weights, `[rank]`.
        factor: a factor of the covariance, `[rank, k]`, `k <= rank`.
        mixture: the distribution of d, or None: N(0, I).
    """

    mean: jax.Array
    factor: jax.Array
    mixture: Mixture | None = None

    @property
    def covariance(self) -> jax.Array:
        """Covariance of the weights, `[rank, rank]`."""
        return self.factor @ self.factor.T


@flax.struct.dataclass
class ItemEffects:
    """What the responses of the fit have of their own, beyond what the basis reads in their
    embeddings.

    Attributes:
        keys: `response_keys` of the responses, uint32 `[n, 2]`.
        values: added to their rewards, `[n, rank]`.
        variance: prior variance of a term, which a response not seen in the fit still has,
            `[rank]`.
    """

    keys: Any
    values: jax.Array
    variance: jax.Array
