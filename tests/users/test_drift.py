"""Forgetting and detection, against loops over single users and simulated ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from lore_jax.data.preferences import from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior
from lore_jax.users.adapt import adapt
from lore_jax.users.drift import (
    aged_log_probability,
    changed_at,
    choose_half_life,
    choose_retention,
    detection_bound,
    misfit,
)
from lore_jax.users.filtering import filter_answers
from lore_jax.users.predict import margins

RANK, RESPONSES = 2, 30
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((RESPONSES, RANK)).astype(np.float32)
PRIOR = GaussianPrior(jnp.zeros(RANK), 2.0 * jnp.eye(RANK))
MODEL = Model(LinearBasis(RANK), {"V": jnp.eye(RANK)}, jnp.ones(()), PRIOR)


def users(count, length, *, flip=None, seed=1):
    """Users who answer by the model; from the answer `flip` on with the opposite weights."""
    rng = np.random.default_rng(seed)
    weights = 2.0 * rng.normal(size=(count, RANK))
    user, step = np.repeat(np.arange(count), length), np.tile(np.arange(length), count)
    first = rng.integers(RESPONSES, size=len(user))
    second = (first + rng.integers(1, RESPONSES, size=len(user))) % RESPONSES
    sign = 1.0 if flip is None else np.where(step < flip, 1.0, -1.0)
    margin = sign * np.sum((TABLE[first] - TABLE[second]) * weights[user], axis=1)
    is_first = rng.random(len(user)) < expit(margin)
    sides = np.where(is_first, first, second), np.where(is_first, second, first)
    return from_arrays(TABLE, *sides, user, num_users=count)


def test_aged_answers_against_a_refit_before_each():
    prefs = users(2, 5)
    found = aged_log_probability(MODEL, prefs, 3.0)
    for pair in range(prefs.num_pairs):
        begin = pair - pair % 5
        age = np.arange(pair - begin, 0, -1)
        earlier = from_arrays(
            TABLE,
            prefs.chosen[begin:pair],
            prefs.rejected[begin:pair],
            np.zeros(len(age), int),
            pair_weight=2.0 ** (-age / 3.0),
            num_users=1,
        )
        one = from_arrays(TABLE, prefs.chosen[[pair]], prefs.rejected[[pair]], [0])
        expected = margins(MODEL, adapt(MODEL, earlier), one).log_probability[0]
        assert found[pair] == pytest.approx(expected, abs=1e-4)


def test_static_users_keep_everything_and_changing_ones_do_not():
    static, changing = users(60, 40), users(60, 40, flip=20)
    rates = (1.0, 0.97, 0.9)
    assert choose_retention(MODEL, static, rates).chosen == 1.0
    chosen = choose_retention(MODEL, changing, rates)
    assert chosen.chosen < 1.0
    assert chosen.log_loss[chosen.rates.index(chosen.chosen)] < chosen.log_loss[0]
    half_lives = (np.inf, 20.0, 8.0)
    assert choose_half_life(MODEL, users(30, 20), half_lives).chosen == np.inf
    assert choose_half_life(MODEL, users(30, 20, flip=10), half_lives).chosen < np.inf


def test_misfit_against_a_loop():
    prefs = users(3, 6)
    rng = np.random.default_rng(2)
    own, population = np.log(rng.uniform(0.2, 0.9, (2, prefs.num_pairs)))
    found, value = misfit(own, population, prefs), 0.0
    for pair in range(prefs.num_pairs):
        value = max(0.0, (value if pair % 6 else 0.0) + population[pair] - own[pair])
        assert found[pair] == pytest.approx(value, abs=1e-6)
    bound = float(np.median(found))
    expected = [next((i for i in range(6) if found[6 * user + i] > bound), -1) for user in range(3)]
    assert changed_at(found, prefs, bound).tolist() == expected


def test_the_detector_alarms_on_changes_and_seldom_on_others():
    static, changing = users(300, 60), users(300, 60, flip=30)
    bound = detection_bound(MODEL, static, length=60, num_users=600, key=jax.random.key(0))
    at = []
    for prefs in (static, changing):
        filtered = filter_answers(MODEL, prefs)
        evidence = misfit(filtered.log_probability, filtered.population, prefs)
        at.append(changed_at(evidence, prefs, bound))
    assert np.mean(at[0] >= 0) < 0.08  # .05 is aimed at
    assert np.mean(at[1] >= 30) > 0.6
    assert np.mean((at[1] >= 0) & (at[1] < 30)) < 0.06


def test_bad_arguments_are_refused():
    prefs = users(2, 3)
    nothing = prefs.take_pairs(np.zeros(prefs.num_pairs, bool))
    with pytest.raises(ValueError, match="half_life is 0: a number above 0"):
        aged_log_probability(MODEL, prefs, 0)
    with pytest.raises(ValueError, match="no rates to choose from"):
        choose_half_life(MODEL, prefs, ())
    with pytest.raises(ValueError, match="hold no pairs"):
        choose_retention(MODEL, nothing)
    with pytest.raises(ValueError, match="0 pairs, length 100"):
        detection_bound(MODEL, nothing, key=jax.random.key(0))
    with pytest.raises(ValueError, match="false_alarms 1"):
        detection_bound(MODEL, prefs, false_alarms=1.0, key=jax.random.key(0))
