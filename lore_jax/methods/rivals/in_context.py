"""GPO and FSPO: a transformer that reads a user's pairs and predicts the user's other pairs.

A token is a pair, `A (e_chosen - e_rejected)` plus what says which kind it is: context, oriented as
answered, or target, whose sides are in random order. There are no positions, so the order of the
context does not matter. Context tokens attend to each other, and targets to the context, never to
one another. One context token belongs to nobody: without shots it is all there is to attend to.

The network is trained over users: a step draws users and parts each one's pairs into context and
targets that share no response (`draws.context_and_targets`). A new user costs a forward pass. A
prediction is made for both orders of a target, `z = (f(x) - f(-x)) / 2`: it changes sign with the
sides, so which response was chosen cannot leak.

The first layer is linear in e: the table goes through it once, and differences are taken in its
width. What differs from the papers: tokens are frozen embeddings of whole responses (GPO's are
embeddings with preferences, FSPO's the texts themselves), and the network is small.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lore_jax.methods.rivals.draws import Drawn, Pairs, context_and_targets
from lore_jax.methods.rivals.reward_network import FirstLayer
from lore_jax.methods.rivals.training import Hyper, NetworkConfig, Objective
from lore_jax.model.basis import Params
from lore_jax.solvers.likelihood import LOGISTIC


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


class _Transformer(nn.Module):
    """From differences of rows to a score of each target as it is oriented."""

    layers: int
    heads: int

    @nn.compact
    def __call__(
        self,
        context: Float[Array, "context width"],
        targets: Float[Array, "targets width"],
        real: Bool[Array, " context"],
    ) -> Float[Array, " targets"]:
        width = context.shape[-1]
        kinds = self.param("kinds", nn.initializers.normal(0.1), (3, width))
        context = jnp.concatenate([context + kinds[:1], kinds[2:]])
        targets, real = targets + kinds[1:2], jnp.append(real, True)
        for _ in range(self.layers):
            context, targets = _Block(self.heads)(context, targets, real)
        small = nn.initializers.normal(0.1 * width**-0.5)
        return nn.Dense(1, kernel_init=small)(nn.LayerNorm()(targets))[:, 0]


@dataclasses.dataclass(frozen=True)
class InContextConfig(NetworkConfig):
    """GPO and FSPO; None: chosen on validation.

    Attributes:
        width: of the tokens.
        layers: of the transformer.
        heads: of its attention.

    Example:
        >>> InContextConfig(width=30, heads=4)
        Traceback (most recent call last):
            ...
        ValueError: width is 30: a multiple of heads, 4, is expected

    Reference:
        Zhao et al. 2023, arXiv 2310.11523, section 3; Singh et al. 2025, arXiv 2502.19312.
    """

    GRID: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "learning_rate": (1e-3, 3e-3),
        "weight_decay": (0.1,),
    }

    steps: int = 200
    users_a_step: int = 32
    least_users: int = 20
    width: int = 32
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: 1 or more is expected")
        if self.width % self.heads:
            raise ValueError(
                f"width is {self.width}: a multiple of heads, {self.heads}, is expected"
            )

    def init_params(self, dim: int, *, key: jax.Array) -> Params:
        """The first layer and the transformer."""
        key_first, key_rest = jax.random.split(key)
        token = jnp.zeros((1, self.width))
        rest = self._transformer().init(key_rest, token, token, jnp.ones(1, bool))
        first = FirstLayer(self.width).init(key_first, jnp.zeros((1, dim)), 1.0)
        return {"pairs": first["params"], "transformer": rest["params"]}

    def rows(
        self,
        params: Params,
        embeddings: Float[Array, "responses dim"],
        input_scale: Float[Array, ""] | float,
    ) -> Float[Array, "responses width"]:
        """A e."""
        first = {"params": params["pairs"]}
        return jnp.asarray(FirstLayer(self.width).apply(first, embeddings, input_scale))

    def scores(
        self,
        params: Params,
        rows: Float[Array, "responses width"],
        context: Pairs,
        targets: Float[Array, "targets width"],
    ) -> Float[Array, " targets"]:
        """F of targets given as differences of rows, after one user's context."""
        transformer = {"params": params["transformer"]}
        tokens, real = differences(rows, context), jnp.asarray(context.weight) > 0
        return jnp.asarray(self._transformer().apply(transformer, tokens, targets, real))

    def objective(
        self,
        params: Params,
        rows: Float[Array, "responses width"],
        vectors: Float[Array, "drawn size"],
        drawn: Drawn,
        hyper: Hyper,
        *,
        key: jax.Array,
        progress: Float[Array, ""],
    ) -> Objective:
        """The loss of the targets, each with its sides in random order."""

        def of_user(key: jax.Array, pairs: Pairs) -> tuple[Array, Array]:
            key_parts, key_sides = jax.random.split(key)
            context, targets = context_and_targets(pairs, key=key_parts)
            side = jax.random.rademacher(key_sides, pairs.chosen.shape, jnp.float32)
            tokens = side[:, None] * differences(rows, targets)
            margin = side * self.scores(params, rows, context, tokens)
            return jnp.sum(targets.weight * LOGISTIC.loss(margin)), jnp.sum(targets.weight)

        keys = jax.random.split(key, len(drawn.users))
        losses, weights = jax.vmap(of_user)(keys, drawn.pairs)
        return Objective(jnp.sum(losses), jnp.sum(weights))

    def user_margins(
        self,
        params: Params,
        rows: Float[Array, "responses width"],
        shots: Pairs,
        targets: Pairs,
        hyper: Hyper,
    ) -> tuple[Float[Array, " targets"], Float[Array, " targets"]]:
        """Half the difference of the scores of both orders, taken to be certain."""
        tokens = differences(rows, targets)
        both = self.scores(params, rows, shots, jnp.concatenate([tokens, -tokens]))
        margin = 0.5 * (both[: len(tokens)] - both[len(tokens) :])
        return margin, jnp.zeros_like(margin)

    def _transformer(self) -> _Transformer:
        return _Transformer(self.layers, self.heads)


def differences(rows: Float[Array, "responses width"], pairs: Pairs) -> Float[Array, "pairs width"]:
    """Chosen minus rejected rows of one user's pairs.

    Example:
        >>> differences(jnp.eye(2), Pairs(jnp.array([0]), jnp.array([1]), jnp.ones(1)))
        Array([[ 1., -1.]], dtype=float32)
    """
    return rows[jnp.asarray(pairs.chosen)] - rows[jnp.asarray(pairs.rejected)]
