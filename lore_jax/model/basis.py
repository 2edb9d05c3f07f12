"""The reward basis R: embeddings to rewards, as Flax modules behind one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.parallel.table_rows import Table, map_rows

# Of a Flax module: nested dictionaries of arrays; `V` is the last layer.
Params: TypeAlias = dict[str, Any]


class LinearBasis(nn.Module):
    """The paper's basis: `R(e) = V' e / input_scale`, with `V [dim, rank]`.

    Attributes:
        rank: the number of columns.
        init_scale: standard deviation of V's initial entries.

    Example:
        >>> params = LinearBasis(rank=2).init(jax.random.key(0), jnp.ones((1, 8)), 1.0)["params"]
        >>> params["V"].shape
        (8, 2)

    Reference:
        Bose et al. 2025, arXiv 2504.14439, section 3.
    """

    rank: int
    init_scale: float = 1.0

    @nn.compact
    def __call__(self, embeddings: jax.Array, input_scale: jax.Array | float) -> jax.Array:
        """Rewards of a table in float32; `input_scale` is its RMS row norm."""
        shape = (embeddings.shape[-1], self.rank)
        directions = self.param("V", nn.initializers.normal(self.init_scale), shape, jnp.float32)
        # V is scaled, not the table: dim x rank numbers instead of a second copy of responses x
        # dim. Behind the barrier the gradient is a product with V's transpose as its result; as
        # [dim, rank] a CPU takes up to 25 times as long. Its kernels take four columns at a time: 5
        # alone cost a fifth more than 5 among 8.
        spare = -self.rank % 4 if self.rank > 1 else 0
        columns = jnp.pad((directions / input_scale).T, ((0, spare), (0, 0)))
        columns = jax.lax.optimization_barrier(columns)
        return jnp.einsum("...d,kd->...k", embeddings, columns, preferred_element_type=jnp.float32)[
            ..., : self.rank
        ]


class MLPBasis(nn.Module):
    """A basis with hidden layers: `R(e) = V' gelu(... gelu(A e / input_scale + b))`.

    Attributes:
        rank: the number of outputs.
        hidden: widths of the hidden layers.
        init_scale: standard deviation of the last layer's output at the start, for inputs of norm
            1.

    Example:
        >>> module = MLPBasis(rank=2, hidden=(16,))
        >>> module.init(jax.random.key(0), jnp.ones((1, 8)), 1.0)["params"]["V"].shape
        (16, 2)
    """

    rank: int
    hidden: Sequence[int] = (64,)
    init_scale: float = 1.0

    @nn.compact
    def __call__(self, embeddings: jax.Array, input_scale: jax.Array | float) -> jax.Array:
        """Rewards of a table in float32; `input_scale` is its RMS row norm."""
        # Rows of norm sqrt(dim) are what the layers' initialisation expects.
        layer = embeddings.astype(jnp.float32) * (embeddings.shape[-1] ** 0.5 / input_scale)
        for width in self.hidden:
            layer = nn.gelu(nn.Dense(width)(layer))
        init = nn.initializers.normal(self.init_scale / self.hidden[-1] ** 0.5)
        directions = self.param("V", init, (self.hidden[-1], self.rank), jnp.float32)
        return layer @ directions


def make_basis(rank: int, hidden: tuple[int, ...] = ()) -> nn.Module:
    """A basis of `rank` columns: linear, or with hidden layers of these widths."""
    return MLPBasis(rank, hidden) if hidden else LinearBasis(rank)


def apply_to_table(
    basis: nn.Module, params: Params, embeddings: Table, input_scale: jax.Array | float
) -> jax.Array:
    """Rewards of a table that may be streamed, `[responses, rank]`.

    Example:
        >>> apply_to_table(LinearBasis(1), {"V": jnp.ones((2, 1))}, jnp.ones((3, 2)), 2.0).T
        Array([[1., 1., 1.]], dtype=float32)
    """

    def apply(params: tuple[Params, jax.Array | float], rows: jax.Array) -> jax.Array:
        return jnp.asarray(basis.apply({"params": params[0]}, rows, params[1]))

    return map_rows(apply, (params, input_scale), embeddings)


def input_width(params: Params) -> int:
    """The dim of the embeddings that a basis with these parameters takes."""
    return (params["Dense_0"]["kernel"] if "Dense_0" in params else params["V"]).shape[-2]


def rescaled(params: Params, by: float) -> Params:
    """The parameters whose rewards are `by` times as large."""
    return {**params, "V": by * params["V"]}


def take_columns(params: Params, columns: np.ndarray) -> Params:
    """The parameters of the basis that has these columns alone."""
    return {**params, "V": params["V"][:, columns]}
