import jax
import jax.numpy as jnp
import numpy as np
import pytest
from uncertain_model import DIM, RANK, TABLE, USERS, model, posterior

import lore_jax as lore
from lore_jax.model.model import rewards
from lore_jax.steering.candidates import draw_rewards, find_candidates, moments
from lore_jax.users.predict import covariance_root, margins

CANDIDATES = np.array([3, 9, 1, 6])


def covariance_of_rewards(rows, user):
    """Of one user's rewards of new responses, a transcription of the module's formula."""
    known = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), rewards(model(), TABLE))
    weights, spread = (np.asarray(x[user], np.float64) for x in posterior()[:2])
    table, second = known.table[rows], weights**2 + np.diagonal(spread)
    kind = [0] + [1] * (RANK - 1)
    result = table @ spread @ table.T + np.diag(known.variance[rows] @ second)
    for k in range(RANK):
        coordinates = known.coordinates[kind[k]][rows]
        result += second[k] * coordinates @ coordinates.T
    return result


def posterior_object():
    weights, covariance = posterior()
    return lore.Posterior(weights, covariance, *(np.zeros(USERS) for _ in range(4)))


@pytest.mark.parametrize("own", [False, True])
def test_gains_are_the_margins_over_the_populations_pick(own):
    rows = np.stack([np.roll(CANDIDATES, u) for u in range(USERS)]) if own else CANDIDATES
    some = find_candidates(model(), TABLE, rows, USERS)
    got = moments(some, *posterior())
    all_rows = np.broadcast_to(rows, (USERS, 4))
    scores = np.asarray(rewards(model(), TABLE).table) @ np.asarray(model().prior.mean)
    reference = all_rows[np.arange(USERS), np.argmax(scores[all_rows], axis=1)]
    for position in range(4):
        chosen = all_rows[:, position]
        other = chosen != reference  # a pair needs two responses
        users = np.flatnonzero(other)
        prefs = lore.from_arrays(TABLE, chosen[users], reference[users], users, num_users=USERS)
        expected = margins(model(), posterior_object(), prefs)
        np.testing.assert_allclose(got.gain[users, position], expected.mean, rtol=1e-4, atol=1e-5)
        got_variance = got.gain_sd[users, position] ** 2
        np.testing.assert_allclose(got_variance, expected.variance, rtol=1e-3)
        np.testing.assert_array_equal(got.gain_sd[~other, position], 0.0)


def test_the_spread_is_against_the_mean_of_the_candidates():
    rows = np.append(CANDIDATES, CANDIDATES[1])  # twice: what is its own is the same in both
    some = find_candidates(model(), TABLE, rows, USERS)
    got = moments(some, *posterior()).spread
    to_rows = np.eye(4)[[0, 1, 2, 3, 1]]
    contrast = to_rows - to_rows.mean(axis=0)
    for user in range(USERS):
        joint = covariance_of_rewards(CANDIDATES, user)
        expected = np.einsum("ci,ij,cj->c", contrast, joint, contrast)
        np.testing.assert_allclose(got[user] ** 2, expected, rtol=1e-3)


def test_draws_have_the_joint_covariance():
    some = find_candidates(model(), TABLE, CANDIDATES, USERS)
    weights, covariance = posterior()
    root = covariance_root(covariance)
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = jax.lax.map(
        lambda key: draw_rewards(some, weights, root, key)[1], keys, batch_size=1000
    )
    expected = covariance_of_rewards(CANDIDATES, 1)
    size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    # 20,000 draws: a correlation is known to 0.01; 0.05 also covers what is not Gaussian.
    np.testing.assert_allclose(np.cov(np.asarray(drawn).T) / size, expected / size, atol=0.05)
    mean = np.asarray(rewards(model(), TABLE).table)[CANDIDATES] @ weights[1]
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.05 * np.sqrt(size.max()))


def test_the_basis_is_wrong_for_all_users_together():
    sure = np.zeros((USERS, RANK, RANK), np.float32)
    same = np.tile(posterior()[0][:1], (USERS, 1))
    some = find_candidates(model(), TABLE, CANDIDATES, USERS)
    drawn = draw_rewards(some, same, jnp.asarray(sure), jax.random.key(3))
    np.testing.assert_allclose(drawn, np.tile(drawn[:1], (USERS, 1)), rtol=1e-5)


def test_equal_replies_are_one_response():
    twice = np.concatenate([TABLE, TABLE[6:7]])
    some = find_candidates(model(), twice, [6, 2, len(TABLE), 6], USERS)
    assert some.index.tolist() == [1, 0, 1, 1]
    np.testing.assert_allclose(
        np.asarray(some.rewards.table)[:2], rewards(model(), TABLE[[2, 6]]).table, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([], "candidates has dtype float64"),
        (np.zeros(0, int), "there are 0 candidates: 1 or more is expected"),
        ([0, 99], "candidates holds 99, outside a table of 12 responses"),
        (np.zeros((2, 3), int), "candidates is for 2 users, the posterior has 5"),
    ],
)
def test_bad_candidates_are_refused(candidates, message):
    with pytest.raises(ValueError, match=message):
        find_candidates(model(), TABLE, candidates, USERS)


def test_a_candidate_with_nan_is_refused_by_its_place():
    table = TABLE.copy()
    table[9, DIM - 1] = np.nan
    with pytest.raises(ValueError, match=r"candidate 1, row 9 of the embeddings, .* not finite"):
        find_candidates(model(), table, CANDIDATES, USERS)
