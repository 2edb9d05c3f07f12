"""VPL: an encoder reads a user's pairs, a decoder scores responses for what it found.

    q(z | pairs) = N(mean, variance) of a set of pairs                   (`set_encoder`)
    r(e, z) = v . leaky_relu(A e + B z + b)                              (`reward_network`)

trained on users' pairs in two parts, context and targets (`draws.context_and_targets`), by

    sum over targets loss(r(chosen, z) - r(rejected, z)) + beta KL(q(z | context) || N(0, I)),

z drawn from q, beta rising from 0 to `kl_weight` over the first half of the steps. A new user costs
one encoder pass; margins are means over draws of z, with their variance. Margins change sign with a
target's sides, and targets are not in the context: so the label cannot leak.

What differs from the paper: one hidden layer of 64 instead of two of 512, since users are hundreds;
targets apart from the context, so that what generalises is rewarded; a rate of 1e-2 in a thousand
steps instead of 1e-4 in tens of thousands (in hundreds of steps at 3e-3 z says next to nothing).
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
from lore_jax.methods.rivals.reward_network import FirstLayer, RewardNetwork
from lore_jax.methods.rivals.set_encoder import SetEncoder, UserGaussian, kl_from_prior
from lore_jax.model.basis import Params
from lore_jax.solvers.likelihood import LOGISTIC

_DRAWS = 4  # of z in predictions, and their mirror images


@dataclasses.dataclass(frozen=True)
class VariationalConfig(NetworkConfig):
    """VPL; None: chosen on validation.

    Attributes:
        kl_weight: beta after half of the steps.
        latent: the length of z.
        width: of the hidden layers.

    Example:
        >>> VariationalConfig(kl_weight=1.0).vector_size  # users have no vectors to learn
        0

    Reference:
        Poddar et al. 2024, arXiv 2408.10075, section 4 and algorithm 1.
    """

    GRID: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "learning_rate": (1e-2,),
        "weight_decay": (0.1,),
        # At .3 nothing of four clearly different groups of users reaches z.
        "kl_weight": (0.01, 0.1),
    }

    steps: int = 1000
    kl_weight: float | None = None
    latent: int = 8
    width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "latent", "width")

    def init_params(self, dim: int, *, key: jax.Array) -> Params:
        """Decoder and encoder, whose first layers read the table."""
        keys = jax.random.split(key, 3)
        example = jnp.zeros((1, dim)), 1.0
        hidden = jnp.zeros((1, self.width)), jnp.ones(1)
        decoder = RewardNetwork(self.width).init(keys[0], *example, jnp.zeros(self.latent))
        return {
            "decoder": decoder["params"],
            "pairs": FirstLayer(2 * self.width).init(keys[1], *example)["params"],
            "encoder": SetEncoder(self.latent).init(keys[2], *hidden)["params"],
        }

    def rows(
        self, params: Params, embeddings: Float[Array, "responses dim"], input_scale: Scale
    ) -> Rows:
        """Side by side A e, C e and R e."""
        decoder, encoder = {"params": params["decoder"]}, {"params": params["pairs"]}
        of_rewards = RewardNetwork(self.width).apply(
            decoder, embeddings, input_scale, method="rows"
        )
        of_pairs = FirstLayer(2 * self.width).apply(encoder, embeddings, input_scale)
        return jnp.concatenate([jnp.asarray(of_rewards), jnp.asarray(of_pairs)], axis=1)

    def encode(self, params: Params, rows: Rows, pairs: Pairs) -> UserGaussian:
        """`q(z)` after one user's pairs."""
        chosen = rows[:, self.width : 2 * self.width][jnp.asarray(pairs.chosen)]
        rejected = rows[:, 2 * self.width :][jnp.asarray(pairs.rejected)]
        encoder = {"params": params["encoder"]}
        weight = jnp.asarray(pairs.weight)
        return SetEncoder(self.latent).apply(encoder, chosen + rejected, weight)  # pyright: ignore[reportReturnType]

    def decode(
        self, params: Params, rows: Rows, z: Float[Array, " latent"], pairs: Pairs
    ) -> Float[Array, " pairs"]:
        """Margins of pairs for one z."""
        decoder, table = {"params": params["decoder"]}, rows[:, : self.width]

        def rewards(side: Array) -> Array:
            network = RewardNetwork(self.width)
            return jnp.asarray(network.apply(decoder, table[side], z, method="rewards"))

        return rewards(jnp.asarray(pairs.chosen)) - rewards(jnp.asarray(pairs.rejected))

    def objective(self, params: Params, rows: Rows, step: Step) -> Objective:
        """Minus the evidence lower bound of the targets, with one draw of z a user."""
        beta = step.hyper["kl_weight"] * jnp.minimum(1.0, 2.0 * step.progress)

        def of_user(key: jax.Array, pairs: Pairs) -> tuple[Array, Array]:
            key_parts, key_z = jax.random.split(key)
            context, targets = context_and_targets(pairs, key=key_parts)
            user = self.encode(params, rows, context)
            noise = jax.random.normal(key_z, (self.latent,))
            z = user.mean + jnp.exp(0.5 * user.log_variance) * noise
            loss = targets.weight * LOGISTIC.loss(self.decode(params, rows, z, targets))
            weight = jnp.sum(targets.weight)
            return jnp.sum(loss) + beta * (weight > 0) * kl_from_prior(user), weight

        return step.over_users(of_user)

    def user_margins(
        self, params: Params, rows: Rows, shots: Pairs, targets: Pairs, hyper: Hyper
    ) -> UserMargins:
        """Mean and variance of margins over the same few draws of z for everybody."""
        user = self.encode(params, rows, shots)
        drawn = jax.random.normal(jax.random.key(0), (_DRAWS, self.latent))
        noise = jnp.concatenate([drawn, -drawn])
        draws = user.mean[None] + jnp.exp(0.5 * user.log_variance)[None] * noise
        margins = jax.vmap(lambda z: self.decode(params, rows, z, targets))(draws)
        return jnp.mean(margins, axis=0), jnp.var(margins, axis=0)
