"""DRM: the basis is the principal directions of the differences within pairs; nothing is learned.

With x_i = e_chosen - e_rejected, the columns are the leading eigenvectors of sum_i c_i x_i x_i'
(`difference_axes`).

The paper weighs the directions by how well each of them alone ranks a user's few pairs; here a
user's weights are the mode under a Gaussian, so that methods differ in their basis alone,

    z = w_u . V' x / input_scale,   w_u ~ N(mean, spread^2 I),

the mean being the mode of everybody's pairs together under N(0, spread^2 I). As in the paper, a
direction of ridge Bradley-Terry is not among the columns.

Reference:
    Luo et al. 2025, arXiv 2502.13131, sections 3.2 (decomposition) and 3.3 (weights).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, Stage
from lore_jax.methods.bradley_terry import bradley_terry
from lore_jax.methods.checks import check_positive, check_rank, possible_ranks
from lore_jax.methods.defaults import WithoutSteps
from lore_jax.methods.rivals.difference_axes import principal_directions
from lore_jax.methods.rivals.gaussian_weights import GaussianWeights, GaussianWeightsMethod
from lore_jax.parallel.buckets import FitData
from lore_jax.parallel.pytree import pytree

RANKS = (4, 8, 16)
SPREADS = (0.3, 1.0, 3.0)


@pytree
class Directions:
    """What `init` finds.

    Attributes:
        columns: the principal directions, `[dim, k]`.
    """

    columns: Float[Array, "dim k"]


@dataclasses.dataclass(frozen=True)
class PrincipalDirectionsConfig(GaussianWeightsMethod, WithoutSteps):
    """Weights on the principal directions of differences; None: chosen on validation.

    Attributes:
        rank: how many directions.
        spread: standard deviation of weights, for embeddings of norm 1.

    Example:
        >>> config = FitConfig(PrincipalDirectionsConfig(rank=4, spread=1.0))
        >>> model, users, history = fit(prefs, config, key=0)
        >>> model
        Model(LinearBasis, dim 8, rank 4, GaussianPrior)
    """

    rank: int | None = None
    spread: float | None = None

    def __post_init__(self) -> None:
        check_rank(self.rank)
        check_positive(self, "spread")

    def stages(self, prefs: Preferences) -> list[Stage]:
        """The number of directions.

        Raises:
            ValueError: the rank exceeds the dim of the embeddings.
        """
        ranks = possible_ranks(self.rank, RANKS, prefs.dim, ()) or [prefs.dim]
        return [Stage("rank", self, tuple({"rank": rank} for rank in ranks))]

    def variants(self) -> list[Choice]:
        """The spread."""
        spreads = SPREADS if self.spread is None else (self.spread,)
        return [{"spread": spread} for spread in spreads]

    def init(self, data: FitData, hyper: Float[Array, " k"], *, key: jax.Array) -> Directions:
        """The directions."""
        return Directions(principal_directions(data, len(hyper), key=key) * hyper[None])

    def finish(
        self, state: Directions, data: FitData, hyper: Float[Array, " k"]
    ) -> GaussianWeights:
        """Everybody's mean weights for each spread: ridge Bradley-Terry in these columns."""
        table = jnp.matmul(data.table, state.columns, preferred_element_type=jnp.float32)
        few = dataclasses.replace(data, embeddings=table)  # the input scale is the same

        def mean(spread: Array) -> Array:
            return bradley_terry(few, 0.5 / spread**2, jnp.zeros(1)).direction

        spreads = jnp.array([variant["spread"] for variant in self.variants()], jnp.float32)
        return GaussianWeights(
            jnp.stack([state.columns / data.input_scale] * len(spreads)),
            jax.lax.map(mean, spreads) * hyper[None],
            spreads[:, None] * hyper[None],
        )
