"""What every transformer here is made of: a parameter's place in the files, products, norms,
activations.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Parameter(NamedTuple):
    """One array of a model: its name in the Hugging Face files, its shape, and how devices share
    it.

    Attributes:
        source: the name, without the family's prefix; `{}` stands for the number of the layer.
        shape: of one layer's array, as in the files: a matrix is `[outputs, inputs]`.
        split: the axis that tensor parallelism splits; None: every device has all of it.
    """

    source: str
    shape: tuple[int, ...]
    split: int | None = None

    @property
    def is_layered(self) -> bool:
        """Whether there is one array a layer; they are stacked, `[layers, ...]`."""
        return "{}" in self.source


def dense(x: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """`x W' + b`: `x [rows, length, inputs]`, `weight [outputs, inputs]` as stored, `bias
    [outputs]`.
    """
    product = jnp.einsum("rli,oi->rlo", x, weight)
    return product if bias is None else product + bias[None, None]


def rms_norm(x: jax.Array, weight: jax.Array, eps: float, offset: float = 0.0) -> jax.Array:
    """`x / rms(x) * (weight + offset)` over the last axis, computed in float32."""
    x32 = x.astype(jnp.float32)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    scale = (weight.astype(jnp.float32) + offset).reshape((1,) * (x.ndim - 1) + (-1,))
    return (x32 * scale).astype(x.dtype)


def layer_norm(x: jax.Array, weight: jax.Array, bias: jax.Array, eps: float) -> jax.Array:
    """`(x - mean(x)) / std(x) * weight + bias` over the last axis, computed in float32."""
    x32 = x.astype(jnp.float32)
    x32 = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (
        x32 * weight.astype(jnp.float32)[None, None] + bias.astype(jnp.float32)[None, None]
    ).astype(x.dtype)


def activate(x: jax.Array, name: str) -> jax.Array:
    """The activation of that name: gelu (exact), gelu_tanh, silu or relu."""
    if name == "gelu":
        # 1 + erf(.) instead of jax.nn.gelu's erfc(-.), which is several times slower on a CPU.
        return 0.5 * x * (1.0 + jax.lax.erf(x * np.sqrt(0.5).astype(x.dtype)))
    return {"gelu_tanh": jax.nn.gelu, "silu": jax.nn.silu, "relu": jax.nn.relu}[name](x)
