import jax
import numpy as np
import pytest
import scipy.stats
from uncertain_model import RANK, TABLE, USERS, model, posterior

import lore_jax as lore
from lore_jax.model.model import rewards
from lore_jax.model.posterior import population_posterior
from lore_jax.steering.best_of_n import BestOfN, best_of_n
from lore_jax.steering.candidates import find_candidates, moments

CANDIDATES = [3, 9, 1, 6]
KEY = jax.random.key(0)


def users(covariance=1.0):
    weights, spread = posterior()
    nothing = (np.zeros(USERS) for _ in range(4))
    return lore.Posterior(weights, np.float32(covariance) * spread, *nothing)


def test_the_mean_picks_the_highest_expected_reward():
    picks = best_of_n(model(), users(), TABLE, CANDIDATES, key=KEY)
    scores = lore.score(model(), users(), TABLE, CANDIDATES)
    np.testing.assert_array_equal(picks.pick, scores.argmax(axis=1))
    np.testing.assert_array_equal(picks.row, np.array(CANDIDATES)[picks.pick])
    reference = scores[np.arange(USERS), picks.population]
    np.testing.assert_allclose(picks.gain, scores - reference[:, None], atol=1e-5)
    np.testing.assert_array_equal(picks.ties, 0)


def test_probabilities_and_regret_against_brute_force_draws():
    picks = best_of_n(
        model(), users(), TABLE, CANDIDATES, BestOfN(draws=4000), key=jax.random.key(1)
    )
    rng, count, user = np.random.default_rng(0), 40_000, 2
    known = jax.tree.map(np.asarray, rewards(model(), TABLE[CANDIDATES]))
    weights, spread = (array[user].astype(np.float64) for array in posterior())
    drawn = rng.multivariate_normal(weights, spread, size=count, method="eigh")
    q = known.coordinates.shape[2]
    directions = rng.standard_normal((count, RANK, q))
    own = rng.standard_normal((count, len(CANDIDATES), RANK))
    kinds = known.coordinates[[0, 1, 1]]
    table = known.table + np.sqrt(known.variance) * own
    table = table + np.einsum("kcq,dkq->dck", kinds, directions)
    values = np.einsum("dck,dk->dc", table, drawn)
    share = np.bincount(values.argmax(axis=1), minlength=4) / count
    np.testing.assert_allclose(picks.probability_best[user], share, atol=0.03)  # 4,000 draws
    pick, reference = picks.pick[user], picks.population[user]
    regret = (values.max(axis=1) - values[:, pick]).mean()
    assert picks.expected_regret[user] == pytest.approx(regret, rel=0.1, abs=0.01)
    better = (values[:, pick] > values[:, reference]).mean()
    if pick != reference:
        assert picks.probability_better[user] == pytest.approx(better, abs=0.03)


def test_the_lower_bound_takes_caution_off():
    some = find_candidates(model(), TABLE, CANDIDATES, USERS)
    got = moments(some, *posterior())
    for caution in (0.0, 0.5, 100.0):
        picks = best_of_n(
            model(), users(), TABLE, CANDIDATES, BestOfN("lower bound", caution), key=KEY
        )
        expected = got.gain - caution * got.spread
        np.testing.assert_array_equal(picks.pick, expected.argmax(axis=1))


def test_the_populations_pick_stays_where_nothing_is_sure():
    free = best_of_n(model(), users(), TABLE, CANDIDATES, key=KEY)
    for confidence in (0.6, 0.9, 0.999999):
        picks = best_of_n(
            model(), users(), TABLE, CANDIDATES, BestOfN(confidence=confidence), key=KEY
        )
        every = np.arange(USERS)
        z = free.gain[every, free.pick] / np.maximum(free.gain_sd[every, free.pick], 1e-9)
        stays = z < scipy.stats.norm.ppf(confidence)
        np.testing.assert_array_equal(picks.pick, np.where(stays, free.population, free.pick))
    assert picks.is_population.all()
    np.testing.assert_allclose(picks.probability_better, 0.5)


def test_somebody_who_has_said_nothing_gets_the_populations_pick():
    nobody = population_posterior(model(), 3)
    for rule in ("mean", "lower bound"):
        picks = best_of_n(model(), nobody, TABLE, CANDIDATES, BestOfN(rule), key=KEY)
        assert picks.is_population.all()


def test_thompson_picks_as_often_as_a_candidate_is_best():
    alike = jax.tree.map(lambda leaf: np.repeat(leaf[:1], 4000, axis=0), users())
    exact = model().replace(basis_posterior=None, item_effects=None)
    picks = best_of_n(exact, alike, TABLE, CANDIDATES, BestOfN("Thompson", draws=1), key=KEY)
    many = best_of_n(exact, users(), TABLE, CANDIDATES, BestOfN(draws=4000), key=KEY)
    share = np.bincount(picks.pick, minlength=4) / 4000
    np.testing.assert_allclose(share, many.probability_best[0], atol=0.04)


def test_equal_replies_tie_and_share_their_probability():
    twice = np.concatenate([TABLE, TABLE[9:10]])
    picks = best_of_n(model(), users(), twice, [9, len(TABLE), 9], key=KEY)
    assert picks.pick.tolist() == [0] * USERS
    assert picks.ties.tolist() == [2] * USERS
    np.testing.assert_allclose(picks.probability_best, 1 / 3, rtol=1e-5)
    np.testing.assert_allclose(picks.expected_regret, 0.0)


def test_one_candidate_is_the_best():
    picks = best_of_n(model(), users(), TABLE, [4], key=KEY)
    assert picks.pick.tolist() == [0] * USERS
    assert picks.is_population.all()
    np.testing.assert_allclose(picks.probability_best, 1.0)


def test_users_own_candidates_are_each_users_own():
    own = np.stack([np.roll(CANDIDATES, shift) for shift in range(USERS)])
    shared = best_of_n(model(), users(), TABLE, CANDIDATES, key=KEY)
    picks = best_of_n(model(), users(), TABLE, own, key=KEY)
    np.testing.assert_array_equal(picks.row, shared.row)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "best"}, "rule is 'best': one of"),
        ({"caution": -1.0}, "caution is -1.0: a number of 0 or more"),
        ({"caution": np.nan}, "caution is nan"),
        ({"confidence": 1.0}, "confidence is 1.0: 0 or more and below 1"),
        ({"draws": 0}, "draws is 0: 1 to 1,000,000"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BestOfN(**settings)
