"""Controls: no user keeps the own weights, donors are asked alike, permuted users keep counts."""

import numpy as np
import pytest
from synthetic_results import USERS, by_shots, preferences

from lore_jax.data.preferences import from_arrays
from lore_jax.evaluation.controls import derangement, donors, permute_users, with_weights_of


@pytest.mark.parametrize("count", [2, 3, 10, 1001])
def test_a_derangement_has_no_fixed_point(count):
    for seed in range(20):
        swap = derangement(count, seed=seed)
        assert (swap != np.arange(count)).all()
        np.testing.assert_array_equal(np.sort(swap), np.arange(count))


def test_one_user_cannot_be_deranged():
    with pytest.raises(ValueError, match="1 users cannot be permuted without a fixed point"):
        derangement(1, seed=0)


def test_permuted_users_keep_their_counts_and_all_pairs():
    prefs = preferences(0, users=40)
    permuted = permute_users(prefs, seed=1)
    np.testing.assert_array_equal(permuted.pairs_per_user(), prefs.pairs_per_user())
    assert sorted(zip(permuted.chosen, permuted.rejected, strict=True)) == sorted(
        zip(prefs.chosen, prefs.rejected, strict=True)
    )
    assert (np.diff(permuted.user) >= 0).all()
    user_of_row = dict(zip(prefs.row.tolist(), prefs.user.tolist(), strict=True))
    same = np.mean(
        [
            user_of_row[row] == user
            for row, user in zip(permuted.row.tolist(), permuted.user, strict=True)
        ]
    )
    assert same < 0.15


def asked_about(topics, users, each, seed, dim=6, per_topic=200):
    """Users by topic in turn, asked about random responses of it; topics lie apart."""
    rng = np.random.default_rng(seed)
    centre = 2.0 * np.eye(dim)[:topics]
    table = np.repeat(centre, per_topic, axis=0) + rng.normal(size=(topics * per_topic, dim)) + 5.0
    topic = np.arange(users) % topics
    user = np.repeat(np.arange(users), each)
    drawn = np.array([rng.permutation(per_topic)[:2] for _ in user])
    chosen, rejected = (topic[user][:, None] * per_topic + drawn).T
    return from_arrays(table.astype(np.float32), chosen, rejected, user, num_users=users), topic


def test_donors_against_a_loop():
    shots, _ = asked_about(3, 12, 4, seed=0)
    shots = shots.take_pairs(shots.user != 5)  # one user gives nothing
    mismatched = derangement(12, seed=0)
    found = donors(shots, mismatched=mismatched)
    table = np.asarray(shots.embeddings, np.float64)
    judged = np.concatenate([shots.chosen, shots.rejected])
    middle = table[np.unique(judged)].mean(axis=0)
    means = np.full((12, table.shape[1]), np.nan)
    for u in range(12):
        own = shots.user == u
        if own.any():
            rows = np.concatenate([shots.chosen[own], shots.rejected[own]])
            means[u] = table[rows].mean(axis=0) - middle
    for u in range(12):
        if u == 5:
            assert found[u] == mismatched[u]
            continue
        cosines = [
            -2.0
            if v in (u, 5)
            else means[u] @ means[v] / np.linalg.norm(means[u]) / np.linalg.norm(means[v])
            for v in range(12)
        ]
        assert found[u] == np.argmax(cosines)


def test_donors_are_asked_about_the_same_topic():
    shots, topic = asked_about(2, 100, 10, seed=1)
    found = donors(shots, mismatched=derangement(100, seed=0))
    assert (topic[found] == topic).all()
    assert (found != np.arange(100)).all()


def test_where_all_judge_the_same_responses_the_donor_is_the_mismatched_user():
    rng = np.random.default_rng(2)
    users, responses = 30, 20
    first = np.tile(np.arange(0, responses, 2), users)
    user = np.repeat(np.arange(users), responses // 2)
    flip = rng.random(len(first)) < 0.5
    table = rng.normal(size=(responses, 4)).astype(np.float32)
    shots = from_arrays(table, np.where(flip, first, first + 1), first + flip, user)
    mismatched = derangement(users, seed=3)
    np.testing.assert_array_equal(donors(shots, mismatched=mismatched), mismatched)
    few = shots.take_pairs(shots.row % 10 < 3 + shots.user % 2)  # hardly anybody has the same
    assert (donors(few, mismatched=mismatched) != np.arange(users)).all()
    nobody = shots.take_pairs(np.zeros(0, int))
    np.testing.assert_array_equal(donors(nobody, mismatched=mismatched), mismatched)


def test_weights_of_others_against_a_loop():
    shots, test = preferences(0), preferences(1)
    wearer = np.array([3, 3, 0, 4, 3, 8, 7, 6, 5])  # several users have one donor
    found = with_weights_of(wearer, by_shots, shots, test)
    assert len(wearer) == USERS
    for pair in range(test.num_pairs):
        one = test.take_pairs(np.array([pair]))
        giver = one.with_users(wearer[one.user])
        np.testing.assert_allclose(found.mean[pair], by_shots(shots, giver).mean[0], rtol=1e-6)
