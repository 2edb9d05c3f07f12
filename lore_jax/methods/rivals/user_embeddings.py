"""P-RLHF: a network that reads a response and a vector of the user, learned with it.

    r(e, u) = v . leaky_relu(A e + B u + b)          (`reward_network`)

Individual users: u is the user's own, and 0 is the generic user, for anybody unknown (a generic
vector u_0 is nothing beside the bias b). Clusters: `u = sum_k softmax(l + d)_k U_k`, a mixture of K
vectors on the simplex, with the generic user's logits l and the user's own d.

In training a user is taken for the generic one with probability .15, which trains the generic one
on everybody. A new user's vector is fitted to the shots from the generic one's, the network frozen.

What differs from the paper. There u is a soft prompt of a language model, here an input of a small
network on frozen embeddings. Vectors have a Gaussian penalty (`vector_network`), or a few shots
would move them without bounds. Rates are higher, since there are hundreds of steps and not tens of
thousands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.methods.checks import check_at_least
from lore_jax.methods.rivals.draws import Pairs
from lore_jax.methods.rivals.network import Rows, Scale
from lore_jax.methods.rivals.reward_network import RewardNetwork
from lore_jax.methods.rivals.vector_network import VectorNetworkConfig
from lore_jax.model.basis import Params


@dataclasses.dataclass(frozen=True)
class UserEmbeddingsConfig(VectorNetworkConfig):
    """P-RLHF with individual users, or with clusters; None: chosen on validation.

    Attributes:
        size: the length of the vector u.
        clusters: K; 0: users have vectors of their own.
        width: of the hidden layer.

    Example:
        >>> UserEmbeddingsConfig(clusters=5).vector_size
        5

    Reference:
        Li et al. 2024, arXiv 2402.05133, sections 4.1 to 4.3.
    """

    GRID: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "learning_rate": (3e-4, 1e-3, 3e-3),
        "weight_decay": (1.0,),
        "spread": (1.0, 3.0),
    }
    DROPOUT: ClassVar[float] = 0.15
    VECTOR_RATE: ClassVar[float] = 0.03

    size: int = 8
    clusters: int = 0
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "size", "width")
        check_at_least(self, 0, "clusters")

    @property
    def vector_size(self) -> int:
        """Of what a user has: u itself, or logits of the clusters."""
        return self.clusters or self.size

    def init_params(self, dim: int, *, key: jax.Array) -> Params:
        """The network, and the clusters where there are some."""
        key_network, key_clusters = jax.random.split(key)
        example = jnp.zeros((1, dim)), 1.0, jnp.zeros(self.size)
        params = {"network": RewardNetwork(self.width).init(key_network, *example)["params"]}
        if self.clusters:
            params["clusters"] = jax.random.normal(key_clusters, (self.clusters, self.size))
            params["logits"] = jnp.zeros(self.clusters)
        return params

    def rows(
        self, params: Params, embeddings: Float[Array, "responses dim"], input_scale: Scale
    ) -> Rows:
        """The table behind the first layer."""
        network = {"params": params["network"]}
        return RewardNetwork(self.width).apply(network, embeddings, input_scale, method="rows")  # pyright: ignore[reportReturnType]

    def vector_margins(
        self, params: Params, rows: Rows, vector: Float[Array, " size"], pairs: Pairs
    ) -> Float[Array, " pairs"]:
        """Differences of rewards at the user's u."""
        user = vector
        if self.clusters:
            user = jax.nn.softmax(params["logits"] + vector) @ params["clusters"]
        network = {"params": params["network"]}

        def rewards(side: Array) -> Array:
            return RewardNetwork(self.width).apply(network, rows[side], user, method="rewards")  # pyright: ignore[reportReturnType]

        return rewards(jnp.asarray(pairs.chosen)) - rewards(jnp.asarray(pairs.rejected))
