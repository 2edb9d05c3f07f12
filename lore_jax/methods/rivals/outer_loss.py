"""What meta-learning minimises: a user's loss on some pairs after inner steps on the others.

Every user's pairs are cut at random into support and query, a random share of them into support.
The inner steps are taken on the support, and the loss on the query is differentiated through them
(second order):

    sum_u q_u loss_u(query),      q = softmax over users of loss_u(query) / temperature, held fixed,

so that users who are predicted badly weigh more.

Reference:
    "Meta Reward Modeling" 2026 (outer loss, weights of hard users); Finn et al. 2017, arXiv
    1703.03400 (second order).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.methods.rivals.inner_steps import inner_steps, mixed
from lore_jax.parallel.buckets import FitData, features
from lore_jax.parallel.devices import total
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.likelihood import LOGISTIC

UNUSED = -1e9  # the logit of a column out of use

_SUPPORT = (0.2, 0.8)  # the least and the most of a user's pairs


@pytree
class Meta:
    """What is meta-learned; snapshots in a leading axis.

    Attributes:
        rewards: A', `[dim, k]`.
        start: w_0, `[k]`.
        log_rate: of the inner steps.
    """

    rewards: Float[Array, "*stops dim k"]
    start: Float[Array, "*stops k"]
    log_rate: Float[Array, "*stops"]


@pytree
class MetaHyper:
    """What is chosen on validation.

    Attributes:
        columns: 1 for the rewards in use, `[k]`.
        temperature: of the weights of users.
    """

    columns: Float[Array, " k"]
    temperature: Float[Array, ""]

    def start(self, meta: Meta) -> Float[Array, "*stops k"]:
        """w_0, nothing of it on columns out of use."""
        return jnp.where(self.columns > 0, meta.start, UNUSED)


def outer_loss(
    meta: Meta, data: FitData, hyper: MetaHyper, support: Sequence[Array]
) -> Float[Array, ""]:
    """This shard's part of the outer loss.

    Args:
        meta: what is learned.
        data: one shard.
        hyper: columns in use, and the temperature.
        support: 1 for pairs that are support, 0 for query, per bucket `[shots, users]`.
    """
    table = jnp.matmul(
        data.table, meta.rewards / data.input_scale, preferred_element_type=jnp.float32
    )
    start, losses, weights = hyper.start(meta), [], []
    for bucket, given in zip(data.buckets, support, strict=True):
        along, pair_weight = features(table, bucket), jnp.asarray(bucket.pair_weight)
        logits = inner_steps(start, jnp.exp(meta.log_rate), along, pair_weight * given)
        query = pair_weight * (1.0 - given)
        count = jnp.sum(query, axis=0)
        own = jnp.sum(query * LOGISTIC.loss(mixed(logits, along)), axis=0)
        losses.append(own / jnp.maximum(count, 1e-6))
        hardness = jnp.exp(jax.lax.stop_gradient(losses[-1]) / hyper.temperature)
        weights.append(hardness * (count > 0))
    everybody = total(sum(map(jnp.sum, weights)))
    parts = [jnp.sum(one * loss) for one, loss in zip(weights, losses, strict=True)]
    return sum(parts, jnp.zeros(())) / jnp.maximum(everybody, 1e-6)


def draw_support(data: FitData, key: jax.Array) -> list[Float[Array, "shots _users"]]:
    """1 for the pairs of each user that are support, a random share of them."""

    def draw(user: Array, pairs: int) -> Array:
        of_share, of_pairs = jax.random.split(jax.random.fold_in(key, jnp.maximum(user, 0)))
        share = jax.random.uniform(of_share, minval=_SUPPORT[0], maxval=_SUPPORT[1])
        return (jax.random.uniform(of_pairs, (pairs,)) < share).astype(jnp.float32)

    return [
        jax.vmap(lambda user, pairs=bucket.chosen.shape[0]: draw(user, pairs))(jnp.asarray(ids)).T
        for bucket, ids in zip(data.buckets, data.users.buckets, strict=True)
    ]
