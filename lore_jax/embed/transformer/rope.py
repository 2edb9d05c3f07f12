"""Rotary position embeddings: the frequencies a model's files ask for, and the rotation.

A head's dimensions are rotated in pairs (i, i + head_dim / 2) by `position * frequency_i` (Su et
al. 2021, arXiv 2104.09864); the scaled variants only change the frequencies.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

_TYPES = ("default", "linear", "llama3")


@dataclasses.dataclass(frozen=True)
class Rope:
    """How the frequencies of one kind of layer are made.

    Attributes:
        theta: the base; frequency i is `theta ** (-2 i / head_dim)`.
        kind: default, linear or llama3.
        factor: what slow frequencies are divided by (all of them if linear).
        low_freq_factor: llama3: frequencies with fewer turns than this in `original_length` are
            divided by `factor`.
        high_freq_factor: llama3: those with more turns than this stay; in between the two are
            blended.
        original_length: llama3: the length of text, in tokens, that the model was first trained on.
    """

    theta: float
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_length: int = 8192

    def frequencies(self, head_dim: int) -> Float[np.ndarray, " half_head_dim"]:
        """Radians per token of each pair of dimensions, float32 `[head_dim / 2]`."""
        frequency = self.theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
        if self.kind == "linear":
            frequency = frequency / self.factor
        elif self.kind == "llama3":
            # Turns of a pair over the original length. Pairs with many turns carry local order and
            # are not scaled.
            turns = self.original_length * frequency / (2 * math.pi)
            share = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
            keep = np.clip(share, 0.0, 1.0)
            frequency = keep * frequency + (1 - keep) * frequency / self.factor
        return frequency.astype(np.float32)


def read_rope(fields: Mapping[str, Any], theta: float, where: str) -> Rope:
    """Reads `rope_scaling` or `rope_parameters` of a config.json.

    Args:
        fields: the object; empty if the file has none.
        theta: the base, where `fields` does not carry its own `rope_theta`.
        where: the file, for messages.

    Raises:
        ValueError: a type that is not supported; the message lists those that are.
    """
    kind = fields.get("rope_type", fields.get("type", "default"))
    if kind not in _TYPES:
        supported = ", ".join(_TYPES)
        raise ValueError(f"{where} asks for the rope type {kind!r}: supported are {supported}")
    if fields.get("partial_rotary_factor", 1.0) != 1.0:
        problem = "rotates a part of each head only (partial_rotary_factor)"
        raise ValueError(f"{where} {problem}, which is not supported")
    theta = float(fields.get("rope_theta", theta))
    if kind == "default":
        return Rope(theta)
    needed = ["factor"]
    if kind == "llama3":
        needed += ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
    if missing := [name for name in needed if name not in fields]:
        raise ValueError(f"{where}: the rope type {kind!r} needs {', '.join(missing)}")
    if kind == "linear":
        return Rope(theta, kind, float(fields["factor"]))
    factors = [float(fields[name]) for name in needed[:3]]
    return Rope(theta, kind, *factors, original_length=int(fields[needed[3]]))


def rotate(
    x: Float[jax.Array, "rows length heads head_dim"],
    angle: Float[jax.Array, "rows length head_dim//2"],
) -> Float[jax.Array, "rows length heads head_dim"]:
    """Rotates each head of queries or keys by an angle for each pair of dimensions, in float32."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = jnp.cos(angle)[:, :, None], jnp.sin(angle)[:, :, None]
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)
