"""GPO and FSPO: a transformer that reads a user's pairs and predicts the user's other pairs.

A token is a pair, `A (e_chosen - e_rejected)`: one of the context, oriented as answered, or a
target, whose sides are in random order (`pair_transformer`).

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

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.methods.checks import check_at_least
from lore_jax.methods.rivals.draws import Pairs, context_and_targets
from lore_jax.methods.rivals.network import Hyper, Objective, Rows, Scale, Step, UserMargins
from lore_jax.methods.rivals.network_method import NetworkConfig
from lore_jax.methods.rivals.pair_transformer import PairTransformer
from lore_jax.methods.rivals.reward_network import FirstLayer
from lore_jax.model.basis import Params
from lore_jax.solvers.likelihood import LOGISTIC


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
        "learning_rate": (3e-3,),
        "weight_decay": (0.1,),
    }

    steps: int = 400
    users_a_step: int = 32
    least_users: int = 20
    width: int = 32
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "width", "layers", "heads")
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
        self, params: Params, embeddings: Float[Array, "responses dim"], input_scale: Scale
    ) -> Rows:
        """A e."""
        first = {"params": params["pairs"]}
        return jnp.asarray(FirstLayer(self.width).apply(first, embeddings, input_scale))

    def scores(
        self,
        params: Params,
        rows: Rows,
        context: Pairs,
        targets: Float[Array, "targets width"],
    ) -> Float[Array, " targets"]:
        """F of targets given as differences of rows, after one user's context."""
        transformer = {"params": params["transformer"]}
        tokens, real = differences(rows, context), jnp.asarray(context.weight) > 0
        return jnp.asarray(self._transformer().apply(transformer, tokens, targets, real))

    def objective(self, params: Params, rows: Rows, step: Step) -> Objective:
        """The loss of the targets, each with its sides in random order."""

        def of_user(key: jax.Array, pairs: Pairs) -> tuple[Array, Array]:
            key_parts, key_sides = jax.random.split(key)
            context, targets = context_and_targets(pairs, key=key_parts)
            side = jax.random.rademacher(key_sides, pairs.chosen.shape, jnp.float32)
            tokens = side[:, None] * differences(rows, targets)
            margin = side * self.scores(params, rows, context, tokens)
            return jnp.sum(targets.weight * LOGISTIC.loss(margin)), jnp.sum(targets.weight)

        return step.over_users(of_user)

    def user_margins(
        self, params: Params, rows: Rows, shots: Pairs, targets: Pairs, hyper: Hyper
    ) -> UserMargins:
        """Half the difference of the scores of both orders, taken to be certain."""
        tokens = differences(rows, targets)
        both = self.scores(params, rows, shots, jnp.concatenate([tokens, -tokens]))
        margin = 0.5 * (both[: len(tokens)] - both[len(tokens) :])
        return margin, jnp.zeros_like(margin)

    def _transformer(self) -> PairTransformer:
        return PairTransformer(self.layers, self.heads)


def differences(rows: Rows, pairs: Pairs) -> Float[Array, "pairs width"]:
    """Chosen minus rejected rows of one user's pairs.

    Example:
        >>> differences(jnp.eye(2), Pairs(jnp.array([0]), jnp.array([1]), jnp.ones(1)))
        Array([[ 1., -1.]], dtype=float32)
    """
    return rows[jnp.asarray(pairs.chosen)] - rows[jnp.asarray(pairs.rejected)]
