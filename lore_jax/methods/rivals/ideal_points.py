"""PAL-A: a user is an ideal point, a mixture of prototypes; the closer a response, the better.

    r(e, u) = -|f(e) - a_u|^2,   a_u = sum_k w_uk P_k,   w_u = softmax(l + d_u)

f is a network of two layers with GELU, P are K prototypes in its output space, l the generic user's
logits and d_u the user's own. All of it is learned jointly. A new user's weights are refitted with
f and P frozen (`vector_network`). Margins are linear in the ideal point,

    r(c) - r(r) = 2 a_u . (f(c) - f(r)) - |f(c)|^2 + |f(r)|^2,

so a pair costs as little as with a linear basis, whatever f.

What differs from the paper: logits have a Gaussian penalty and a generic user, for those without
shots. Rates are chosen from the paper's 1e-4 to 3e-3, and users' is .05 where the paper's is 5e-3,
since there are hundreds of steps and not tens of thousands: embeddings of few coordinates need the
higher ones. Its weight decay, .01, is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.methods.checks import check_at_least
from lore_jax.methods.rivals.draws import Pairs
from lore_jax.methods.rivals.network import Rows, Scale
from lore_jax.methods.rivals.reward_network import FirstLayer
from lore_jax.methods.rivals.vector_network import VectorNetworkConfig
from lore_jax.model.basis import Params


class _Points(nn.Module):
    """f: two layers with GELU; at the start its outputs have a norm of about 1/2."""

    width: int
    size: int

    @nn.compact
    def __call__(
        self, embeddings: Float[Array, "responses dim"], input_scale: Array | float
    ) -> Float[Array, "responses size"]:
        layer = FirstLayer(self.width)(embeddings, input_scale)
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        init = nn.initializers.normal((self.width * self.size) ** -0.5)
        return nn.Dense(self.size, kernel_init=init)(nn.gelu(layer + bias[None]))


@dataclasses.dataclass(frozen=True)
class IdealPointsConfig(VectorNetworkConfig):
    """PAL-A; None: chosen on validation.

    Attributes:
        prototypes: K.
        size: the length of f's output.
        width: of f's hidden layer.

    Example:
        >>> IdealPointsConfig(prototypes=5).vector_size
        5

    Reference:
        Chen et al. 2024, arXiv 2406.08469, section 3 (model A).
    """

    GRID: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "learning_rate": (1e-4, 3e-4, 1e-3, 3e-3),
        "weight_decay": (0.01,),
        "spread": (1.0,),
    }
    VECTOR_RATE: ClassVar[float] = 0.05

    prototypes: int = 6
    size: int = 16
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "prototypes", "size", "width")

    @property
    def vector_size(self) -> int:
        """A logit for each prototype."""
        return self.prototypes

    def init_params(self, dim: int, *, key: jax.Array) -> Params:
        """The network, the prototypes, and the generic user's logits, which are 0."""
        key_network, key_prototypes = jax.random.split(key)
        drawn = jax.random.normal(key_prototypes, (self.prototypes, self.size))
        return {
            "network": self._points().init(key_network, jnp.zeros((1, dim)), 1.0)["params"],
            "prototypes": drawn / self.size**0.5,
            "logits": jnp.zeros(self.prototypes),
        }

    def rows(
        self, params: Params, embeddings: Float[Array, "responses dim"], input_scale: Scale
    ) -> Rows:
        """F of each response."""
        network = {"params": params["network"]}
        return jnp.asarray(self._points().apply(network, embeddings, input_scale))

    def vector_margins(
        self, params: Params, rows: Rows, vector: Float[Array, " size"], pairs: Pairs
    ) -> Float[Array, " pairs"]:
        """How much closer to the user's ideal point the chosen response is, squared."""
        ideal = jax.nn.softmax(params["logits"] + vector) @ params["prototypes"]
        chosen, rejected = rows[jnp.asarray(pairs.chosen)], rows[jnp.asarray(pairs.rejected)]
        norms = jnp.sum(chosen**2, axis=1) - jnp.sum(rejected**2, axis=1)
        return 2.0 * (chosen - rejected) @ ideal - norms

    def _points(self) -> _Points:
        return _Points(self.width, self.size)
