"""Best of n: which of some candidate replies a user gets, and how sure that is."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key
from scipy.special import ndtri

from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.steering.candidates import Candidates, draw_rewards, find_candidates, moments
from lore_jax.users.predict import covariance_root

Rule = Literal["mean", "lower bound", "Thompson"]
_MOST_DRAWS = 1_000_000

# Relative to the largest: rewards of equal replies differ by rounding.
_TIE = 1e-5


@dataclasses.dataclass(frozen=True)
class BestOfN:
    """How one of several candidates is picked.

    Attributes:
        rule: mean: the highest expected reward, the best pick on the average. lower bound: the
            highest `mean - caution * sd`, rewards being taken against the mean of the candidates:
            a reply about which little is known must look better than one that is known. Thompson:
            the highest reward of one draw of the model, which explores.
        caution: of the lower bound, in standard deviations.
        confidence: the population's pick stays unless the pick is better with at least this
            probability; 0: it never does.
        draws: of the model, for probabilities and regret.
    """

    rule: Rule = "mean"
    caution: float = 0.25
    confidence: float = 0.0
    draws: int = 256

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule is {self.rule!r}: one of {get_args(Rule)} is expected")
        if not 0.0 <= self.caution < np.inf:
            raise ValueError(f"caution is {self.caution}: a number of 0 or more is expected")
        if not 0.0 <= self.confidence < 1.0:
            raise ValueError(f"confidence is {self.confidence}: 0 or more and below 1 is expected")
        if not 1 <= self.draws <= _MOST_DRAWS:
            raise ValueError(f"draws is {self.draws}: 1 to {_MOST_DRAWS:,} is expected")


class Picks(NamedTuple):
    """What every user gets of some candidates; rewards are in logits.

    Attributes:
        pick: position of the pick among the candidates, `[users]`.
        row: its row in the embeddings, `[users]`.
        population: position of the population's pick, `[users]`.
        gain: by how much each candidate is expected to be better than the population's pick,
            `[users, c]`.
        gain_sd: standard deviation of that, `[users, c]`.
        score: what the rule ranks by, `[users, c]`.
        ties: how many other candidates have the highest score, `[users]`; the population's
            preference decides among them, then their order.
        probability_best: that each candidate is the user's best, `[users, c]`; replies that are
            equal share it.
        expected_regret: what the user's best is expected to be better than the pick, `[users]`.
        probability_better: that the pick is better than the population's, `[users]`; half where it
            is the population's.
    """

    pick: Int[np.ndarray, " users"]
    row: Int[np.ndarray, " users"]
    population: Int[np.ndarray, " users"]
    gain: Float[np.ndarray, "users c"]
    gain_sd: Float[np.ndarray, "users c"]
    score: Float[np.ndarray, "users c"]
    ties: Int[np.ndarray, " users"]
    probability_best: Float[np.ndarray, "users c"]
    expected_regret: Float[np.ndarray, " users"]
    probability_better: Float[np.ndarray, " users"]

    @property
    def is_population(self) -> Bool[np.ndarray, " users"]:
        """No personal preference: the user gets what the population picks."""
        return self.pick == self.population


def best_of_n(
    model: Model,
    posterior: Posterior,
    embeddings: Any,
    candidates: ArrayLike | None = None,
    config: BestOfN | None = None,
    *,
    key: Key[Array, ""],
) -> Picks:
    """Picks one of n replies for every user, with what is not known of weights, basis, replies.

    `argmax_i E[r_u(i)]`, or by a lower bound, or by one draw (`BestOfN`). Probabilities and regret
    are over joint draws of the model, so that the pick's luck is in them (`candidates.py`).

    Args:
        model: a fitted model.
        posterior: of the users, best by `expected_weights`: the expected reward is at their mean;
            one without answers is the population and gets its pick.
        embeddings: table of responses, `[responses, dim]`.
        candidates: rows of the table, replies to one prompt: `[c]`, the same for everybody, or
            `[users, c]`; None: the whole table.
        config: how it is picked.
        key: the one source of randomness.

    Returns:
        The `Picks`.

    Raises:
        ValueError: there is no candidate or no user, one candidate is not in the table or has a
            reward that is not finite, or candidates are for another number of users.

    Example:
        >>> picks = best_of_n(model, posterior, prefs.embeddings, [0, 1, 2], key=jax.random.key(0))
        >>> bool((picks.expected_regret >= 0).all())
        True
    """
    config = config or BestOfN()
    some = find_candidates(model, embeddings, candidates, posterior.num_users)
    key_pick, key_draws = jax.random.split(key)
    weights, covariance = jnp.asarray(posterior.weights), _covariance(posterior)
    root = covariance_root(covariance)
    gain, gain_sd, spread = moments(some, weights, covariance)
    if config.rule == "Thompson":
        score = np.asarray(_one_draw(some, weights, root, key_pick))
    else:
        score = gain - (config.caution if config.rule == "lower bound" else 0.0) * spread
    users = np.arange(posterior.num_users)
    population = np.broadcast_to(some.population, users.shape)
    pick, ties = _highest(score, _population_order(model, some))
    if config.confidence:
        sure = gain[users, pick] >= ndtri(config.confidence) * gain_sd[users, pick]
        pick = np.where(sure, pick, population)
    share, regret, better = _over_draws(
        some, weights, root, pick, population, key_draws, config.draws
    )
    rows = np.broadcast_to(some.rows, gain.shape)
    return Picks(
        pick=pick,
        row=rows[users, pick],
        population=population.copy(),
        gain=gain,
        gain_sd=gain_sd,
        score=score,
        ties=ties,
        probability_best=np.asarray(share),
        expected_regret=np.asarray(regret),
        probability_better=np.asarray(better),
    )


def _covariance(posterior: Posterior) -> Array:
    """The covariance of users' weights, zeros where the prior gives none."""
    if posterior.covariance is not None:
        return jnp.asarray(posterior.covariance)
    users, rank = posterior.weights.shape
    return jnp.zeros((users, rank, rank))


def _population_order(model: Model, some: Candidates) -> np.ndarray:
    """The population's rewards of the candidates, `[c]` or `[users, c]`."""
    return (np.asarray(some.rewards.table) @ np.asarray(model.prior.mean))[some.index]


def _highest(score: np.ndarray, population: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position of the highest score, ties by the population's reward; how many others tie."""
    best = score.max(axis=1, keepdims=True)
    tolerance = _TIE * np.maximum(1.0, np.abs(score).max(axis=1, keepdims=True))
    equal = score >= best - tolerance
    among = np.where(equal, np.broadcast_to(population, score.shape), -np.inf)
    return np.argmax(among, axis=1), equal.sum(axis=1) - 1


@jax.jit
def _one_draw(some: Candidates, weights: Array, root: Array, key: Array) -> Array:
    drawn = draw_rewards(some, weights, root, key)
    index = jnp.broadcast_to(jnp.asarray(some.population), drawn.shape[:1])
    return drawn - jnp.take_along_axis(drawn, index[:, None], axis=1)


@jax.jit(static_argnames="draws")
def _over_draws(
    some: Candidates,
    weights: Array,
    root: Array,
    pick: Array,
    population: Array,
    key: Array,
    draws: int,
) -> tuple[Array, Array, Array]:
    """Share of the draws in which each is best, mean regret, how often the pick is better.

    One draw at a time: draws x users x candidates is never formed.
    """

    def add(
        sums: tuple[Array, Array, Array], number: Array
    ) -> tuple[tuple[Array, Array, Array], None]:
        drawn = draw_rewards(some, weights, root, jax.random.fold_in(key, number))
        picked, other = (
            jnp.take_along_axis(drawn, which[:, None], axis=1) for which in (pick, population)
        )
        best = drawn.max(axis=1, keepdims=True)
        equal = (drawn == best).astype(drawn.dtype)
        better = 0.5 * (1.0 + jnp.sign(picked - other)[:, 0])
        new = equal / equal.sum(axis=1, keepdims=True), (best - picked)[:, 0], better
        return jax.tree.map(jnp.add, sums, new), None

    users, c = weights.shape[0], some.index.shape[-1]
    nothing = jnp.zeros((users, c)), jnp.zeros(users), jnp.zeros(users)
    sums, _ = jax.lax.scan(add, nothing, jnp.arange(draws))
    return jax.tree.map(lambda total: total / draws, sums)
