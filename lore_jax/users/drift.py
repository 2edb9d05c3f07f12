"""Users who change: how fast answers should be forgotten, and when a user no longer fits.

Two ways to forget. Answers age: one that is `age` answers old counts `2^(-age / half_life)`, and
users are solved for exactly. Or weights relax towards the population answer by answer
(`filtering.py`). Either rate is chosen by what it does to one-step-ahead log loss, each answer
predicted from those before it, on users kept for validation. Forgetting must earn its place: among
rates as good as the best, to one standard error over users, the slowest is taken, so that users who
do not change lose nothing.

Detection. The sum of one-step-ahead log scores, the population's minus the user's, grows when
what was learned of a user has become worse than knowing nothing. Counted from its lowest point
(Page's test) it is compared with a bound that few unchanging users reach; the bound is simulated.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.model.model import Model, rewards
from lore_jax.users.adapt import adapt_rewards
from lore_jax.users.filtering import filter_answers
from lore_jax.users.predict import Margins, moments_of_margins
from lore_jax.users.questionnaire import choices, draw_users

HALF_LIVES = (math.inf, 200.0, 100.0, 50.0, 25.0, 12.0, 6.0)
RETENTIONS = (1.0, 0.998, 0.995, 0.99, 0.98, 0.96, 0.92, 0.85)


class Rate(NamedTuple):
    """A rate of forgetting, and what all rates did on validation.

    Attributes:
        chosen: the rate: a half-life in answers, or a retention.
        rates: all rates, slowest first.
        log_loss: one-step-ahead log loss in nats, macro over users, `[rates]`.
    """

    chosen: float
    rates: tuple[float, ...]
    log_loss: Float[np.ndarray, " rates"]


def aged_log_probability(
    model: Model, prefs: Preferences, half_life: float
) -> Float[np.ndarray, " pairs"]:
    """Log probability of every answer given the user's earlier ones, each counted by its age.

    Exact: a solve for each answer, all in one call.

    Args:
        model: a fitted model.
        prefs: the answers, of each user in the order of time; their pair weights do not count.
        half_life: in answers; infinite: all count alike.

    Returns:
        In nats, in the order of `prefs`.

    Raises:
        ValueError: `half_life` is not above 0.

    Example:
        >>> bool((aged_log_probability(model, shots, 10.0) < 0).all())
        True
    """
    if not half_life > 0.0:
        raise ValueError(f"half_life is {half_life}: a number above 0 is expected")
    count = prefs.pairs_per_user()
    first = (np.cumsum(count) - count)[prefs.user]
    before = np.arange(prefs.num_pairs) - first  # how many answers came before each
    # Each answer is a user of its own, with the answers before it.
    user = np.repeat(np.arange(prefs.num_pairs), before)
    ends = np.cumsum(before)
    ahead = np.arange(len(user)) - (ends - before)[user]
    index = first[user] + ahead
    age = before[user] - ahead
    earlier = dataclasses.replace(
        prefs,
        chosen=prefs.chosen[index],
        rejected=prefs.rejected[index],
        prompt=prefs.prompt[index],
        user=user.astype(np.int32),
        row=index,
        num_users=prefs.num_pairs,
        user_ids=None,
        pair_weight=np.exp2(-age / half_life).astype(np.float32),
    )
    table = rewards(model, prefs.embeddings)
    posterior = adapt_rewards(model, table.table, earlier)
    each = np.arange(prefs.num_pairs)
    mean, variance = moments_of_margins(
        table, prefs.chosen, prefs.rejected, each, posterior.weights, posterior.covariance
    )
    return Margins(np.asarray(mean), np.asarray(variance), model.likelihood).log_probability


def choose_half_life(
    model: Model, prefs: Preferences, half_lives: Sequence[float] = HALF_LIVES
) -> Rate:
    """The half-life of answers that predicts validation users best, the longest in case of doubt.

    Args:
        model: a fitted model.
        prefs: answers of validation users, of each in the order of time.
        half_lives: in answers.

    Returns:
        The `Rate`.

    Raises:
        ValueError: there are no rates or no answers, or a rate is not above 0.

    Example:
        >>> choose_half_life(model, shots, (np.inf, 5.0)).rates
        (inf, 5.0)
    """
    return _choose(prefs, half_lives, lambda rate: aged_log_probability(model, prefs, rate))


def choose_retention(
    model: Model, prefs: Preferences, retentions: Sequence[float] = RETENTIONS
) -> Rate:
    """The retention of `filter_answers` that predicts validation users best, likewise.

    Example:
        >>> choose_retention(model, shots, (1.0, 0.9)).rates
        (1.0, 0.9)
    """

    def score(rate: float) -> np.ndarray:
        return filter_answers(model, prefs, retention=rate).log_probability

    return _choose(prefs, retentions, score)


def _choose(
    prefs: Preferences, rates: Sequence[float], score: Callable[[float], np.ndarray]
) -> Rate:
    if not len(rates):
        raise ValueError("there are no rates to choose from: at least one is expected")
    if not prefs.num_pairs:
        raise ValueError("the preferences hold no pairs: nothing can be chosen on them")
    ordered = tuple(sorted(map(float, rates), reverse=True))
    count = prefs.pairs_per_user()
    has = count > 0
    losses = np.stack(
        [
            np.bincount(prefs.user, -score(rate), prefs.num_users)[has] / count[has]
            for rate in ordered
        ]
    )
    mean = losses.mean(axis=1)
    worse = losses - losses[mean.argmin()]
    error = worse.std(axis=1, ddof=1) / math.sqrt(has.sum()) if has.sum() > 1 else 0.0 * mean
    good = worse.mean(axis=1) <= error
    return Rate(ordered[int(np.argmax(good))], ordered, mean)


def misfit(
    log_probability: Float[np.ndarray, " pairs"],
    population: Float[np.ndarray, " pairs"],
    prefs: Preferences,
) -> Float[np.ndarray, " pairs"]:
    """Evidence after each answer that what was learned of a user misleads by now, in nats.

    `D <- max(0, D + log p_population - log p_user)`

    Args:
        log_probability: of each answer given those before it (`filter_answers`).
        population: the same for a user about whom nothing is known.
        prefs: the answers, of each user in the order of time.

    Returns:
        D after each answer, in the order of `prefs`.

    Example:
        >>> filtered = filter_answers(model, shots)
        >>> bool((misfit(filtered.log_probability, filtered.population, shots) >= 0).all())
        True

    Reference:
        Page 1954, "Continuous inspection schemes".
    """
    gain = np.asarray(population, np.float64) - log_probability
    total = np.concatenate([[0.0], np.cumsum(gain)])
    out = np.empty(len(gain))
    bounds = np.searchsorted(prefs.user, np.arange(prefs.num_users + 1))
    for begin, end in itertools.pairwise(bounds):
        lowest = np.minimum.accumulate(total[begin : end + 1])[1:]
        out[begin:end] = total[begin + 1 : end + 1] - lowest
    return out


def changed_at(
    evidence: Float[np.ndarray, " pairs"], prefs: Preferences, bound: float
) -> Int[np.ndarray, " users"]:
    """After which of a user's answers the evidence first passed a bound; -1 where it never did.

    Example:
        >>> changed_at(np.full(shots.num_pairs, 0.5), shots, 1.0).max()
        np.int64(-1)
    """
    out = np.full(prefs.num_users, -1)
    count = prefs.pairs_per_user()
    first = np.cumsum(count) - count
    passed = np.flatnonzero(evidence > bound)[::-1]
    out[prefs.user[passed]] = passed - first[prefs.user[passed]]  # the first is written last
    return out


def detection_bound(
    model: Model,
    prefs: Preferences,
    *,
    length: int = 100,
    false_alarms: float = 0.05,
    num_users: int = 2000,
    key: jax.Array,
) -> float:
    """The evidence that only a few of the users who do not change pass within some answers.

    Users are drawn from the prior and answer pairs drawn from those of `prefs`.

    Args:
        model: a fitted model.
        prefs: pairs as they are asked.
        length: how many answers.
        false_alarms: the share of users who may pass.
        num_users: how many users are simulated.
        key: the one source of randomness.

    Returns:
        A bound for `changed_at`, in nats.

    Raises:
        ValueError: there are no pairs, or a number is out of range.

    Example:
        >>> detection_bound(model, shots, length=10, num_users=50, key=jax.random.key(0)) > 0
        True
    """
    if not prefs.num_pairs or length < 1 or num_users < 1 or not 0.0 < false_alarms < 1.0:
        raise ValueError(
            f"{prefs.num_pairs} pairs, length {length}, {num_users} users, false_alarms "
            f"{false_alarms}: at least 1 of each and a share between 0 and 1 are expected"
        )
    keys = jax.random.split(key, 3)
    weights = draw_users(model, num_users, keys[0])
    drawn = jax.random.randint(keys[1], (num_users * length,), 0, prefs.num_pairs)
    pair, user = np.asarray(drawn), np.repeat(np.arange(num_users), length)
    table = np.asarray(rewards(model, prefs.embeddings).table)
    sides = prefs.chosen[pair], prefs.rejected[pair]
    margin = np.sum((table[sides[0]] - table[sides[1]]) * weights[user], axis=1)
    is_first = choices(model.likelihood, margin, keys[2])
    answers = from_arrays(
        prefs.embeddings,
        np.where(is_first, *sides),
        np.where(is_first, *sides[::-1]),
        user,
        num_users=num_users,
    )
    filtered = filter_answers(model, answers)
    evidence = misfit(filtered.log_probability, filtered.population, answers)
    return float(np.quantile(evidence.reshape(num_users, length).max(axis=1), 1.0 - false_alarms))
