"""DRM: the basis is the principal directions of the differences within pairs; nothing is learned.

With x_i = e_chosen - e_rejected, the columns are the leading eigenvectors of

    sum_i c_i x_i x_i' = E' L E,

L the Laplacian of the graph of pairs. No difference is formed: a product with x is one with the
table and two look-ups, its transpose the same backwards, and the eigenvectors are found by subspace
iteration, which needs nothing else.

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
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, Info, Stage
from lore_jax.methods.bradley_terry import bradley_terry
from lore_jax.methods.checks import check_positive, check_rank, possible_ranks
from lore_jax.methods.rivals.gaussian_weights import GaussianWeights, GaussianWeightsMethod
from lore_jax.parallel.buckets import FitData, features
from lore_jax.parallel.devices import total

RANKS = (4, 8, 16)
SPREADS = (0.3, 1.0, 3.0)

_ROUNDS = 8  # of subspace iteration
_OVERSAMPLED = 8  # columns more than are wanted, so that the last ones converge as well


def principal_directions(data: FitData, count: int, *, key: jax.Array) -> Float[Array, "dim count"]:
    """The leading eigenvectors of the second moment of differences, over all shards.

    Args:
        data: one shard.
        count: how many, at most dim.
        key: where the iteration starts.

    Returns:
        Orthonormal columns, the strongest first.

    Reference:
        Halko, Martinsson and Tropp 2011, arXiv 0909.4061, algorithms 4.4 and 5.3.
    """
    dim = data.embeddings.shape[1]
    columns = min(dim, count + _OVERSAMPLED)
    weights = [jnp.asarray(bucket.pair_weight) for bucket in data.buckets]

    def differences(directions: Array) -> list[Array]:
        """Each pair's difference along each direction, `[columns, shots, users]`."""
        table = jnp.matmul(data.table, directions, preferred_element_type=jnp.float32)
        return [features(table, bucket) for bucket in data.buckets]

    transpose = jax.linear_transpose(differences, jax.ShapeDtypeStruct((dim, columns), jnp.float32))

    def weighted(directions: Array) -> list[Array]:
        along = differences(directions)
        return [weight[None] * part for weight, part in zip(weights, along, strict=True)]

    def improve(_: Array, directions: Array) -> Array:
        (moved,) = transpose(weighted(directions))
        return jnp.linalg.qr(total(moved))[0]

    directions = jnp.linalg.qr(jax.random.normal(key, (dim, columns)))[0]
    directions = jax.lax.fori_loop(0, _ROUNDS, improve, directions)
    (moved,) = transpose(weighted(directions))
    vectors = jnp.linalg.eigh(directions.T @ total(moved))[1]  # ascending
    return directions @ vectors[:, ::-1][:, :count]


@flax.struct.dataclass
class Directions:
    """What `init` finds.

    Attributes:
        columns: the principal directions, `[dim, k]`.
    """

    columns: Float[Array, "dim k"]


@dataclasses.dataclass(frozen=True)
class PrincipalDirectionsConfig(GaussianWeightsMethod):
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

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Float[Array, " k"]]:
        """1 for the columns in use."""
        columns = jnp.arange(max(choice["rank"] for choice in choices))
        return [(columns < choice["rank"]).astype(jnp.float32) for choice in choices]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """None."""
        return 0

    def init(self, data: FitData, hyper: Float[Array, " k"], *, key: jax.Array) -> Directions:
        """The directions."""
        return Directions(principal_directions(data, len(hyper), key=key) * hyper[None])

    def step(
        self, state: Directions, data: FitData, hyper: Float[Array, "..."]
    ) -> tuple[Directions, Info]:
        """Is never taken."""
        return state, Info(jnp.zeros(()), jnp.zeros(()))

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
