import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import GaussianPrior
from lore_jax.users.score import score, top_k

DIM, RANK, USERS, RESPONSES = 6, 3, 5, 12
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((RESPONSES, DIM)).astype(np.float32)
V = RNG.standard_normal((DIM, RANK)).astype(np.float32)
WEIGHTS = RNG.standard_normal((USERS, RANK)).astype(np.float32)

MODEL = Model(
    LinearBasis(RANK),
    {"V": jnp.asarray(V)},
    jnp.asarray(2.0),
    GaussianPrior(jnp.ones(RANK), jnp.eye(RANK)),
    temperature=4.0,
)
POSTERIOR = Posterior(
    WEIGHTS, np.zeros((USERS, RANK, RANK), np.float32), *(np.zeros(USERS) for _ in range(4))
)
REWARDS = TABLE.astype(np.float64) @ V / 2.0 / 4.0  # embeddings / input_scale @ V / temperature


@pytest.mark.parametrize("at_a_time", [1, 24, 1 << 20])  # one user, two of five, all
def test_scores_against_numpy(at_a_time, monkeypatch):
    monkeypatch.setattr("lore_jax.users.score._SCORES_AT_A_TIME", at_a_time)
    everything = score(MODEL, POSTERIOR, TABLE)
    np.testing.assert_allclose(everything, WEIGHTS @ REWARDS.T, atol=1e-5)
    shared = np.array([7, 2, 2, 11])
    np.testing.assert_allclose(
        score(MODEL, POSTERIOR, TABLE, shared), (WEIGHTS @ REWARDS.T)[:, shared], atol=1e-5
    )
    own = np.random.default_rng(5).integers(RESPONSES, size=(USERS, 6))
    expected = np.take_along_axis(WEIGHTS @ REWARDS.T, own, axis=1)
    np.testing.assert_allclose(score(MODEL, POSTERIOR, TABLE, own), expected, atol=1e-5)
    assert score(MODEL, POSTERIOR, TABLE, shared[:0]).shape == (USERS, 0)
    assert score(MODEL, POSTERIOR.take(np.arange(0)), TABLE, shared).shape == (0, 4)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_the_best_against_a_full_sort(k):
    scores = WEIGHTS @ REWARDS.T
    own = np.stack([np.random.default_rng(i).permutation(RESPONSES)[:6] for i in range(USERS)])
    for candidates in (None, np.arange(RESPONSES)[::-1][:8], own):
        values, rows = top_k(MODEL, POSTERIOR, TABLE, k, candidates)
        assert values.shape == rows.shape == (USERS, k)
        for user in range(USERS):
            own_rows = (
                np.arange(RESPONSES)
                if candidates is None
                else candidates[user]
                if candidates.ndim == 2
                else candidates
            )
            best = own_rows[np.argsort(-scores[user, own_rows])][:k]
            assert rows[user].tolist() == best.tolist()
            np.testing.assert_allclose(values[user], scores[user, best], atol=1e-5)


def test_more_users_than_a_batch():
    users = 2500
    weights = np.random.default_rng(6).standard_normal((users, RANK)).astype(np.float32)
    posterior = Posterior(
        weights, np.zeros((users, RANK, RANK), np.float32), *(np.zeros(users) for _ in range(4))
    )
    _, rows = top_k(MODEL, posterior, TABLE, 1)
    np.testing.assert_array_equal(rows[:, 0], np.argmax(weights @ REWARDS.T, axis=1))


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([0, 12], "candidates holds 12, outside a table of 12 responses"),
        ([-1, 2], "candidates holds -1"),
        (
            [0.0, 1.0],
            r"candidates has dtype float64 and shape \(2,\): integers \[c\] or \[users, c\]",
        ),
        (np.zeros((1, 2, 3), int), r"shape \(1, 2, 3\)"),
        (np.zeros((4, 2), int), "candidates is for 4 users, the posterior has 5"),
    ],
)
def test_bad_candidates_are_refused(candidates, message):
    with pytest.raises(ValueError, match=message):
        score(MODEL, POSTERIOR, TABLE, candidates)
    with pytest.raises(ValueError, match=message):
        top_k(MODEL, POSTERIOR, TABLE, 1, candidates)


@pytest.mark.parametrize(
    ("candidates", "k", "message"),
    [
        ([0, 1], 3, "k is 3: 1 to 2, the number of candidates"),
        ([0, 1], 0, "k is 0"),
        (None, 13, "k is 13: 1 to 12"),
    ],
)
def test_more_or_fewer_than_there_are_is_refused(candidates, k, message):
    with pytest.raises(ValueError, match=message):
        top_k(MODEL, POSTERIOR, TABLE, k, candidates)


def test_another_width_is_refused():
    for ask in (lambda *args: score(*args), lambda *args: top_k(*args, 1)):
        with pytest.raises(
            ValueError, match="embeddings have dim 4, the model was fitted on dim 6"
        ):
            ask(MODEL, POSTERIOR, TABLE[:, :4])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_candidate_that_is_not_finite_is_refused_by_its_place(bad):
    table = TABLE.copy()
    table[7, 2] = bad
    message = "candidate 1, row 7 of the embeddings, has a reward that is not finite"
    own = np.tile(np.arange(5), (USERS, 1))
    own[3, 4] = 7
    for ask in (
        lambda *args: score(*args),
        lambda model, *args: top_k(model, *args[:2], 1, args[2]),
    ):
        with pytest.raises(ValueError, match=message):
            ask(MODEL, POSTERIOR, table, [2, 7])
        with pytest.raises(ValueError, match="candidate 4 of user 3, row 7"):
            ask(MODEL, POSTERIOR, table, own)
        ask(MODEL, POSTERIOR, table, [2, 6])  # a bad row that is no candidate does no harm
