"""Votes of the users of a fit, each weighing as much as the user agrees with a new one.

A user v of the fit has a score of every response judged, (wins - losses) / (wins + losses + 1), and
prefers of two such responses the one with the higher score. With the agreements a and disagreements
b of v with the shots of user u (on pairs of which v judged both responses),

    similarity  s_uv = max(0, (a - b) / (a + b + 5)),
    P(chosen) = (kappa p_0 + sum_v s_uv^2 [v prefers it]) / (kappa + sum_v s_uv^2),

the sums over users who judged both responses, a tie counting half. p_0 is the population's vote,
(1 + number of users who prefer it) / (2 + number of users who judged both), and what is predicted
without shots. The margin is the log odds.

Reference:
    Herlocker, Konstan, Borchers and Riedl 1999, "An algorithmic framework for performing
    collaborative filtering" (similarity shrunk by the number of items in common).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.methods.rivals.draws import Pairs
from lore_jax.parallel.buckets import FitData
from lore_jax.parallel.devices import total
from lore_jax.parallel.pytree import pytree

USERS_AT_A_TIME = 8  # whose votes are gathered at once

_SHRINKAGE = 5.0  # pairs in common at which half of an agreement is believed


@pytree
class Scores:
    """What the users of the fit think of responses.

    Attributes:
        score: in (-1, 1), `[users, responses]`.
        judged: 1 where a user judged a response, else 0, `[users, responses]`.
    """

    score: Float[Array, "*shards users responses"]
    judged: Float[Array, "*shards users responses"]


def count_scores(data: FitData, users: int) -> Scores:
    """Scores of all users, from the wins and losses on every shard.

    Args:
        data: one shard.
        users: how many rows the scores have.
    """
    empty = jnp.zeros((users, data.embeddings.shape[0]))
    balance, number = empty, empty
    for bucket, ids in zip(data.buckets, data.users.buckets, strict=True):
        user = jnp.broadcast_to(jnp.maximum(jnp.asarray(ids), 0)[None], bucket.chosen.shape)
        counts = (jnp.asarray(bucket.pair_weight) > 0).astype(jnp.float32)
        for side, sign in ((bucket.chosen, 1.0), (bucket.rejected, -1.0)):
            balance = balance.at[user, side].add(sign * counts)
            number = number.at[user, side].add(counts)
    balance, number = total((balance, number))
    return Scores(balance / (number + 1.0), (number > 0).astype(jnp.float32))


def votes(
    scores: Scores, pairs: Pairs
) -> tuple[Float[Array, "users pairs"], Float[Array, "users pairs"]]:
    """Of each user of the fit on each pair: 1, 1/2 or 0 for the chosen side, and whether one votes.

    Example:
        >>> scores = Scores(jnp.array([[0.5, -0.5, 0.0]]), jnp.array([[1.0, 1.0, 0.0]]))
        >>> pairs = Pairs(jnp.array([1, 0]), jnp.array([0, 2]), jnp.ones(2))
        >>> vote, counts = votes(scores, pairs)
        >>> vote[0].tolist(), counts[0].tolist()
        ([0.0, 1.0], [1.0, 0.0])
    """
    chosen, rejected = jnp.asarray(pairs.chosen), jnp.asarray(pairs.rejected)
    difference = scores.score[:, chosen] - scores.score[:, rejected]
    return 0.5 * (1.0 + jnp.sign(difference)), scores.judged[:, chosen] * scores.judged[:, rejected]


def neighbour_margins(
    scores: Scores, shots: Pairs, tests: Pairs, kappas: Float[Array, " variants"]
) -> Float[Array, "variants tests"]:
    """Log odds of one user's test pairs, for each kappa.

    Args:
        scores: of the users of the fit.
        shots: of the user, weights 0 for padding, `[shots]`.
        tests: pairs to predict, whose weights are not read, `[tests]`.
        kappas: what the population is worth.
    """
    vote, counts = votes(scores, shots)
    counts = counts * shots.weight[None]
    agreement = jnp.sum((2.0 * vote - 1.0) * counts, axis=1)
    common = jnp.sum(jnp.abs(2.0 * vote - 1.0) * counts, axis=1)
    weight = jnp.maximum(agreement / (common + _SHRINKAGE), 0.0) ** 2
    vote, counts = votes(scores, tests)
    population = (1.0 + jnp.sum(vote * counts, axis=0)) / (2.0 + jnp.sum(counts, axis=0))
    for_it, all_ = weight @ (vote * counts), weight @ counts
    against, kappas = all_ - for_it, kappas[:, None]
    prior = kappas * population[None]
    return jnp.log(prior + for_it[None]) - jnp.log(kappas - prior + against[None])
