"""What is thought of a user after a set of pairs: a Gaussian, by attention over the set.

    q(z | pairs) = N(M p, diag exp(S p)),   p = sum_i a_i h_i,   a = softmax over the set and 0
    h_i = leaky_relu(C e_chosen + R e_rejected + b),   attention logits q . h_i

The 0 in the softmax is a pair that says nothing: without shots p = 0, so q is the prior, and with
many shots its part vanishes.

Reference:
    Poddar et al. 2024, arXiv 2408.10075, section 4.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class UserGaussian(NamedTuple):
    """What is thought of a user, `q(z)`.

    Attributes:
        mean: of z.
        log_variance: of each entry.
    """

    mean: Float[Array, " latent"]
    log_variance: Float[Array, " latent"]


class SetEncoder(nn.Module):
    """From the rows of a user's pairs to `q(z)`.

    Attributes:
        latent: the length of z.

    Example:
        >>> rows, weight = jnp.ones((3, 4)), jnp.zeros(3)  # pairs that weigh nothing
        >>> encoder = SetEncoder(latent=2)
        >>> encoder.apply(encoder.init(jax.random.key(0), rows, weight), rows, weight).mean
        Array([0., 0.], dtype=float32)
    """

    latent: int

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "pairs width"], weight: Float[Array, " pairs"]
    ) -> UserGaussian:
        """Rows of pairs are `C e_chosen + R e_rejected`."""
        bias = self.param("bias", nn.initializers.zeros, (hidden.shape[1],))
        hidden = nn.leaky_relu(hidden + bias[None])
        logits = nn.Dense(1, use_bias=False, name="attention")(hidden)[:, 0]
        # A pair of weight c counts as c pairs; the pair that says nothing has logit 0.
        logits = logits + jnp.log(weight)
        attention = jax.nn.softmax(jnp.append(logits, 0.0))[:-1]
        pooled = attention @ hidden
        mean = nn.Dense(self.latent, use_bias=False, name="mean")(pooled)
        small = nn.initializers.normal(0.1 * hidden.shape[1] ** -0.5)
        spread = nn.Dense(self.latent, use_bias=False, kernel_init=small, name="log_variance")
        return UserGaussian(mean, spread(pooled))


def kl_from_prior(user: UserGaussian) -> Float[Array, ""]:
    """`KL(q || N(0, I)) = sum (mean^2 + variance - 1 - log variance) / 2`, in nats.

    Args:
        user: q.

    Returns:
        The divergence, 0 or more.

    Example:
        >>> kl_from_prior(UserGaussian(jnp.ones(2), jnp.zeros(2)))
        Array(1., dtype=float32)
    """
    variance = jnp.exp(user.log_variance)
    return 0.5 * jnp.sum(user.mean**2 + variance - 1.0 - user.log_variance)
