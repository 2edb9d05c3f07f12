"""Predictions of many users against those of one at a time; tables apart; what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import problem
from trained_networks import SMALL, of_user, p_rlhf_margins, perturbed, some_pairs, some_table

from lore_jax.methods.rivals.draws import Pairs
from lore_jax.methods.rivals.network_predictor import NetworkPredictor, margins_of_users

HYPER = {"spread": jnp.float32(0.8)}


def predictor_of(dim=6):
    params = perturbed(SMALL.init_params(dim, key=jax.random.key(0)))
    return NetworkPredictor(SMALL, params, HYPER, np.float32(2.0), dim)


def one_by_one(predictor, shots, test, users):
    """The margins, by a call of the network for each user."""
    table = jnp.asarray(test.embeddings)
    rows = predictor.network.rows(predictor.params, table, 2.0)
    mean = np.zeros(test.num_pairs, np.float32)
    for user in users:
        given, asked = (
            Pairs(part.chosen[own], part.rejected[own], part.pair_weight[own])
            for part in (shots, test)
            for own in [part.user == user]
        )
        got, _ = predictor.network.user_margins(predictor.params, rows, given, asked, HYPER)
        mean[test.user == user] = got
    return mean


def test_users_together_are_users_alone():
    test, predictor = problem(), predictor_of()
    shots = test.take_pairs(np.arange(test.num_pairs) % 2 == 0)
    margins = predictor.adapted(shots, test)
    users = [0, 5, 20]
    alone, theirs = one_by_one(predictor, shots, test, users), np.isin(test.user, users)
    np.testing.assert_allclose(margins.mean[theirs], alone[theirs], atol=1e-4)
    assert not margins.variance.any()
    again = predictor.fitted(shots, test)
    np.testing.assert_array_equal(again.mean, margins.mean)


def test_without_shots_it_is_the_generic_user():
    test, predictor = problem(), predictor_of()
    margins = predictor.adapted(test.take_pairs(np.zeros(0, np.int64)), test)
    pairs = Pairs(test.chosen, test.rejected, test.pair_weight)
    generic = p_rlhf_margins(predictor.params, np.asarray(test.embeddings), np.zeros(4), pairs)
    np.testing.assert_allclose(margins.mean, generic, atol=1e-4)


def test_shots_and_test_may_have_tables_of_their_own():
    test, predictor = problem(), predictor_of()
    shots = test.take_pairs(np.arange(test.num_pairs) % 2 == 0)
    apart = dataclasses.replace(
        shots,
        embeddings=np.asarray(shots.embeddings)[::-1].copy(),
        chosen=shots.num_responses - 1 - shots.chosen,
        rejected=shots.num_responses - 1 - shots.rejected,
    )
    expected = predictor.adapted(shots, test).mean
    np.testing.assert_allclose(predictor.adapted(apart, test).mean, expected, atol=1e-5)


def test_more_users_than_one_part_takes(monkeypatch):
    from lore_jax.methods.rivals import network_predictor

    predictor, pairs = predictor_of(), some_pairs(users=7)
    rows = predictor.network.rows(predictor.params, some_table(), 2.0)
    monkeypatch.setattr(network_predictor, "_USERS_AT_A_TIME", 3)
    mean, _ = margins_of_users(predictor.network, predictor.params, rows, pairs, pairs, HYPER)
    assert mean.shape == (7, 5)
    last = of_user(pairs, 6)
    alone, _ = predictor.network.user_margins(predictor.params, rows, last, last, HYPER)
    np.testing.assert_allclose(mean[6], alone, atol=1e-5)


def test_other_users_and_other_tables_are_refused(tmp_path):
    prefs, predictor = problem(), predictor_of()
    with pytest.raises(ValueError, match="the shots are of 20 users, the test pairs of 21"):
        predictor.adapted(prefs.take_users(np.arange(20)), prefs)
    with pytest.raises(ValueError, match="the table has dim 6: 5 is expected, as in the fit"):
        predictor_of(5).adapted(prefs, prefs)
    with pytest.raises(ValueError, match=r"a NetworkPredictor cannot be saved in .*model"):
        predictor.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
