"""A network that reads a response and a vector, its first layer apart from the rest.

    r(e, u) = v . leaky_relu(A e sqrt(dim) / input_scale + b + B u)

The first layer is linear in e, so the table goes through it once, `[responses, width]`. Whatever
follows gathers rows of that table for the pairs at hand.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class FirstLayer(nn.Module):
    """`A e sqrt(dim) / input_scale`: rows of norm sqrt(dim) are what initialisations expect.

    Attributes:
        width: the number of rows of A.

    Example:
        >>> params = FirstLayer(4).init(jax.random.key(0), jnp.ones((1, 8)), 1.0)["params"]
        >>> params["kernel"].shape
        (4, 8)
    """

    width: int

    @nn.compact
    def __call__(
        self, embeddings: Float[Array, "responses dim"], input_scale: Array | float
    ) -> Float[Array, "responses width"]:
        """The table of what the next layers read, in float32."""
        dim = embeddings.shape[-1]
        init = nn.initializers.normal(dim**-0.5)
        # The kernel is scaled, not the table, and its rows are A's: see `model.basis.LinearBasis`.
        kernel = self.param("kernel", init, (self.width, dim), jnp.float32)
        scaled = jax.lax.optimization_barrier(kernel * (dim**0.5 / input_scale))
        return jnp.einsum("rd,wd->rw", embeddings, scaled, preferred_element_type=jnp.float32)


class RewardNetwork(nn.Module):
    """The network; `rows` is its first layer, a call the rest.

    Attributes:
        width: of the hidden layer.
        init_scale: standard deviation of rewards at the start.

    Example:
        >>> network = RewardNetwork(4)
        >>> params = network.init(jax.random.key(0), jnp.ones((5, 8)), 1.0, jnp.zeros(2))
        >>> rows = network.apply(params, jnp.ones((5, 8)), 1.0, method="rows")
        >>> network.apply(params, rows, jnp.zeros(2), method="rewards").shape
        (5,)
    """

    width: int = 64
    init_scale: float = 0.1

    def setup(self) -> None:
        """The layers."""
        self.response = FirstLayer(self.width)
        self.user = nn.Dense(self.width)
        of_rewards = nn.initializers.normal(self.init_scale / self.width**0.5)
        self.reward = nn.Dense(1, use_bias=False, kernel_init=of_rewards)

    def __call__(
        self,
        embeddings: Float[Array, "responses dim"],
        input_scale: Array | float,
        user: Float[Array, " size"],
    ) -> Float[Array, " responses"]:
        """Rewards of a table for one user."""
        return self.rewards(self.rows(embeddings, input_scale), user)

    def rows(
        self, embeddings: Float[Array, "responses dim"], input_scale: Array | float
    ) -> Float[Array, "responses width"]:
        """The table behind the first layer."""
        return self.response(embeddings, input_scale)

    def rewards(
        self, rows: Float[Array, "responses width"], user: Float[Array, " size"]
    ) -> Float[Array, " responses"]:
        """One user's rewards of some rows."""
        return self.reward(nn.leaky_relu(rows + self.user(user)[None]))[:, 0]
