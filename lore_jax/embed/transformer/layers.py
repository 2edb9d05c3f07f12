"""The parts of every transformer here: parameters, products, norms, activations."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float


class Parameter(NamedTuple):
    """One array of a model, as the Hugging Face files name it.

    Attributes:
        source: the name, without the family's prefix; `{}` stands for the number of the layer.
        shape: of one layer's array, as in the files: a matrix is `[outputs, inputs]`.
        split: the axis that tensor parallelism splits; None: each device holds the whole array.
    """

    source: str
    shape: tuple[int, ...]
    split: int | None = None

    @property
    def is_layered(self) -> bool:
        """Whether each layer has one; they are stacked, `[layers, ...]`."""
        return "{}" in self.source


class Params(NamedTuple):
    """The arrays of a model, by the names of its table of parameters.

    Attributes:
        single: those that the model has once.
        layers: those that each layer has, stacked, `[layers, ...]`.
    """

    single: dict[str, jax.Array]
    layers: dict[str, jax.Array]


def dense(
    x: Float[jax.Array, "rows length inputs"],
    weight: Float[jax.Array, "outputs inputs"],
    bias: Float[jax.Array, " outputs"] | None = None,
) -> Float[jax.Array, "rows length outputs"]:
    """`x W' + b`, with the matrix as the files store it."""
    product = jnp.einsum("rli,oi->rlo", x, weight)
    return product if bias is None else product + bias[None, None]


def rms_norm(
    x: Float[jax.Array, "*batch dim"],
    weight: Float[jax.Array, " dim"],
    eps: float,
    offset: float = 0.0,
) -> Float[jax.Array, "*batch dim"]:
    """`x / rms(x) * (weight + offset)` over the last axis, computed in float32."""
    x32 = x.astype(jnp.float32)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    scale = (weight.astype(jnp.float32) + offset).reshape((1,) * (x.ndim - 1) + (-1,))
    return (x32 * scale).astype(x.dtype)


def layer_norm(
    x: Float[jax.Array, "rows length dim"],
    weight: Float[jax.Array, " dim"],
    bias: Float[jax.Array, " dim"],
    eps: float,
) -> Float[jax.Array, "rows length dim"]:
    """`(x - mean(x)) / std(x) * weight + bias` over the last axis, computed in float32."""
    x32 = x.astype(jnp.float32)
    x32 = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    scale, shift = (array.astype(jnp.float32)[None, None] for array in (weight, bias))
    return (x32 * scale + shift).astype(x.dtype)


def activate(x: Float[jax.Array, "*shape"], name: str) -> Float[jax.Array, "*shape"]:
    """The activation of that name: gelu (exact), gelu_tanh, silu or relu."""
    if name == "gelu":
        # 1 + erf(.) instead of jax.nn.gelu's erfc(-.), which is several times slower on a CPU.
        return 0.5 * x * (1.0 + jax.lax.erf(x * np.sqrt(0.5).astype(x.dtype)))
    return {"gelu_tanh": jax.nn.gelu, "silu": jax.nn.silu, "relu": jax.nn.relu}[name](x)
