"""A transformer whose tokens are pairs: those of the context, and targets to be scored.

A token gets what says which kind it is. There are no positions, so the order of the context does
not matter. Context tokens attend to each other, and targets to the context, never to one another.
One context token belongs to nobody: without shots it is all there is to attend to.

Reference:
    Zhao et al. 2023, arXiv 2310.11523, section 3.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class _Block(nn.Module):
    """One layer: both kinds of token attend to the context, then each goes through an MLP."""

    heads: int

    @nn.compact
    def __call__(
        self,
        context: Float[Array, "context width"],
        targets: Float[Array, "targets width"],
        real: Bool[Array, " context"],
    ) -> tuple[Float[Array, "context width"], Float[Array, "targets width"]]:
        width = context.shape[-1]
        before, after = nn.LayerNorm(), nn.LayerNorm()
        attend = nn.MultiHeadDotProductAttention(self.heads)
        first, second = nn.Dense(2 * width), nn.Dense(width)
        seen = before(context)

        def layer(tokens: Array) -> Array:
            mask = jnp.broadcast_to(real[None, None], (1, len(tokens), len(real)))
            tokens = tokens + attend(before(tokens), seen, seen, mask=mask)
            return tokens + second(nn.gelu(first(after(tokens))))

        return layer(context), layer(targets)


class PairTransformer(nn.Module):
    """From differences of rows to a score of each target as it is oriented.

    Attributes:
        layers: how many.
        heads: of the attention.

    Example:
        >>> network, pairs = PairTransformer(layers=1, heads=2), jnp.ones((3, 8))
        >>> params = network.init(jax.random.key(0), pairs, pairs, jnp.ones(3, bool))
        >>> network.apply(params, pairs, pairs[:2], jnp.ones(3, bool)).shape
        (2,)
    """

    layers: int
    heads: int

    @nn.compact
    def __call__(
        self,
        context: Float[Array, "context width"],
        targets: Float[Array, "targets width"],
        real: Bool[Array, " context"],
    ) -> Float[Array, " targets"]:
        """Scores; `real` is False for padding of the context."""
        width = context.shape[-1]
        kinds = self.param("kinds", nn.initializers.normal(0.1), (3, width))
        context = jnp.concatenate([context + kinds[:1], kinds[2:]])
        targets, real = targets + kinds[1:2], jnp.append(real, True)
        for _ in range(self.layers):
            context, targets = _Block(self.heads)(context, targets, real)
        small = nn.initializers.normal(0.1 * width**-0.5)
        return nn.Dense(1, kernel_init=small)(nn.LayerNorm()(targets))[:, 0]
