"""Questions to many users at once: against one user at a time, and what is never asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.data.preferences import from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import population_posterior
from lore_jax.model.prior import GaussianPrior, MixturePrior, SimplexPrior
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.solvers.mixture import Mixture
from lore_jax.users import questions as module
from lore_jax.users.adapt import adapt
from lore_jax.users.criteria import expected_answers
from lore_jax.users.questions import ask

RANK, USERS, RESPONSES, ANSWERS = 3, 9, 14, 40
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((RESPONSES, RANK)).astype(np.float32)
CENTRE = np.array([[1.2, 0.0, 0.0], [-1.2, 0.3, 0.0]], np.float32)
SPREAD = np.tile(0.6 * np.eye(3, dtype=np.float32), (2, 1, 1))
MIXTURE = Mixture(jnp.log(jnp.array([0.4, 0.6])), jnp.asarray(CENTRE), jnp.asarray(SPREAD))
KEY = jax.random.key(0)
EXPECTED = jax.jit(expected_answers)


def model_of(prior):
    return Model(LinearBasis(RANK), {"V": jnp.eye(RANK)}, jnp.ones(()), prior)


GAUSSIAN = model_of(GaussianPrior(jnp.ones(RANK), jnp.eye(RANK)))
MIXED = model_of(MixturePrior(jnp.ones(RANK), jnp.eye(RANK), MIXTURE))


def answers(seed=1):
    rng = np.random.default_rng(seed)
    chosen = rng.integers(RESPONSES, size=ANSWERS)
    rejected = (chosen + rng.integers(1, RESPONSES, size=ANSWERS)) % RESPONSES
    user = rng.integers(USERS - 1, size=ANSWERS)  # the last user has none
    return from_arrays(TABLE, chosen, rejected, user, num_users=USERS)


PREFS = answers()
PAIRS = np.stack(np.triu_indices(RESPONSES, 1), axis=1)[:40]
POSTERIOR = adapt(GAUSSIAN, PREFS)


def answered(user):
    mine = PREFS.user == user
    return {frozenset(p) for p in zip(PREFS.chosen[mine], PREFS.rejected[mine], strict=True)}


def information(posterior, user, pairs):
    """Of each pair, under one Gaussian."""
    f = TABLE[pairs[:, 0]] - TABLE[pairs[:, 1]]
    mean = f @ posterior.weights[user]
    variance = np.einsum("na,ab,nb->n", f, posterior.covariance[user], f)
    return np.array(EXPECTED(LOGISTIC, jnp.zeros(1), mean[None], variance[None]).information)


def test_every_user_gets_the_best_of_what_was_not_answered():
    found = ask(GAUSSIAN, POSTERIOR, PREFS, PAIRS)
    for user in range(USERS):
        gain = information(POSTERIOR, user, PAIRS)
        gain[[frozenset(pair) in answered(user) for pair in PAIRS]] = -1.0
        assert found.index[user, 0] == np.argmax(gain)
        assert found.gain[user, 0] == pytest.approx(gain.max(), rel=1e-4)
        assert (found.first[user, 0], found.second[user, 0]) == tuple(PAIRS[np.argmax(gain)])


@pytest.mark.parametrize("criterion", ["information", "random"])
def test_chunks_and_candidates_of_ones_own_change_nothing(criterion, monkeypatch):
    options = {"count": 3, "criterion": criterion, "key": KEY}
    whole = ask(GAUSSIAN, POSTERIOR, PREFS, PAIRS, **options)
    own = np.broadcast_to(PAIRS, (USERS, *PAIRS.shape))
    each = ask(GAUSSIAN, POSTERIOR, PREFS, own, **options)
    monkeypatch.setattr(module, "_SHARED_AT_A_TIME", 80)  # two users at a time
    parts = ask(GAUSSIAN, POSTERIOR, PREFS, PAIRS, **options)
    for other in (each, parts):
        np.testing.assert_array_equal(other.index, whole.index)
        np.testing.assert_allclose(other.gain, whole.gain, rtol=1e-4)
    for user in range(USERS):
        pairs = {frozenset(p) for p in zip(whole.first[user], whole.second[user], strict=True)}
        assert len(pairs) == 3
        assert not pairs & answered(user)


def test_a_mixture_is_not_its_merged_gaussian():
    prefs, posterior = PREFS, adapt(MIXED, PREFS)
    apart = ask(MIXED, posterior, prefs, PAIRS)
    together = ask(MIXED, posterior, TABLE, PAIRS)
    # The user who has answered nothing is the prior's own mixture.
    f = TABLE[PAIRS[:, 0]] - TABLE[PAIRS[:, 1]]
    mean = (np.ones(RANK) + CENTRE) @ f.T
    variance = np.tile(0.36 * np.sum(f**2, axis=1), (2, 1))
    expected = EXPECTED(LOGISTIC, MIXTURE.log_share, mean, variance).information
    assert apart.gain[-1, 0] == pytest.approx(float(expected.max()), rel=1e-3)
    assert abs(apart.gain[-1, 0] - together.gain[-1, 0]) > 1e-3


def test_reply_to_pick_and_targets():
    replies = np.array([0, 3, 5])
    found = ask(GAUSSIAN, POSTERIOR, PREFS, PAIRS, criterion="best_reply", targets=replies)
    assert (found.gain >= 0).all()
    assert found.gain.max() > 0
    few = ask(GAUSSIAN, POSTERIOR, PREFS, PAIRS, criterion="v_optimal", targets=PAIRS[:2])
    everything = ask(GAUSSIAN, POSTERIOR, PREFS, PAIRS, criterion="v_optimal", targets=PAIRS)
    default = ask(GAUSSIAN, POSTERIOR, PREFS, PAIRS, criterion="v_optimal")
    assert (few.index != everything.index).any()
    np.testing.assert_array_equal(default.index, everything.index)


def test_asked_pairs_and_duplicates_are_left_out():
    table = np.concatenate([TABLE, TABLE[:1]])
    pairs = np.array([[0, RESPONSES], [0, 1], [RESPONSES, 1], [2, 3]])
    nobody = population_posterior(GAUSSIAN, 2)
    found = ask(GAUSSIAN, nobody, table, pairs, count=4)
    assert 0 not in found.index  # a response against its own copy
    assert len({1, 2} & set(found.index[0].tolist())) == 1  # the same question twice
    assert (found.first[:, 2:] == -1).all()
    asked = np.array([[False, True, True, False], [True] * 4])
    found = ask(GAUSSIAN, nobody, table, pairs, asked=asked)
    assert found.index.tolist() == [[3], [-1]]
    assert np.isnan(found.probability[1, 0])


def test_padded_candidates_of_ones_own():
    own = np.full((USERS, 3, 2), -1)
    own[:, 0], own[1:, 1] = [0, 1], [2, 3]
    found = ask(GAUSSIAN, population_posterior(GAUSSIAN, USERS), TABLE, own, count=3)
    assert (found.index[0, 1:] == -1).all()
    assert (np.sort(found.index[1:], axis=1) == [-1, 0, 1]).all()


@pytest.mark.parametrize(
    ("candidates", "options", "message"),
    [
        ([[0, 14]], {}, "candidates holds 14, outside a table of 14 responses"),
        ([[0, -1]], {}, "candidates holds -1, outside"),
        (np.zeros((0, 2), int), {}, "candidates is empty"),
        ([0, 1, 2], {}, r"candidates has shape \(3,\): pairs of rows, \[c, 2\]"),
        ([[0.0, 1.0]], {}, "candidates has dtype float64"),
        (np.zeros((4, 2, 2), int), {}, "candidates is for 4 users, the posterior has 9"),
        (PAIRS[:2], {"count": 3}, "count is 3: 1 to 2, the number of candidates"),
        (PAIRS, {"count": 0}, "count is 0"),
        (PAIRS, {"criterion": "best"}, "criterion is 'best': one of information, variance"),
        (PAIRS, {"criterion": "random"}, "key is None"),
        (PAIRS, {"criterion": "best_reply"}, "targets is None: the rows"),
        (
            PAIRS,
            {"criterion": "best_reply", "targets": [99]},
            "targets holds 99, outside a table of 14",
        ),
        (PAIRS, {"criterion": "v_optimal", "targets": [[0, 99]]}, "targets holds 99"),
        (
            PAIRS,
            {"asked": np.zeros(3, bool)},
            r"asked has dtype bool and shape \(3,\): bool \[40\]",
        ),
    ],
)
def test_bad_questions_are_refused_in_one_line(candidates, options, message):
    with pytest.raises(ValueError, match=message) as refusal:
        ask(GAUSSIAN, POSTERIOR, TABLE, candidates, **options)
    assert "\n" not in str(refusal.value)


def test_other_users_tables_and_priors_are_refused():
    with pytest.raises(ValueError, match="the posterior has 3 users, the preferences have 9"):
        ask(GAUSSIAN, population_posterior(GAUSSIAN, 3), PREFS, PAIRS)
    with pytest.raises(ValueError, match="candidates is None"):
        ask(GAUSSIAN, POSTERIOR, TABLE)
    with pytest.raises(ValueError, match="embeddings have dim 2, the model was fitted on dim 3"):
        ask(GAUSSIAN, POSTERIOR, TABLE[:, :2], PAIRS)
    simplex = model_of(SimplexPrior(jnp.full(RANK, 1 / RANK)))
    with pytest.raises(ValueError, match=r"no spread \(SimplexPrior\)"):
        ask(simplex, population_posterior(simplex, 2), TABLE, PAIRS)
    nobody = population_posterior(simplex, 2)
    assert (ask(simplex, nobody, TABLE, PAIRS, criterion="random", key=KEY).index >= 0).all()


def test_random_questions_follow_the_key_and_not_the_chunk():
    found = [
        ask(GAUSSIAN, POSTERIOR, TABLE, PAIRS, criterion="random", key=key).index
        for key in (KEY, KEY, jax.random.key(1))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
    assert len(np.unique(found[0])) > 1
    taken = POSTERIOR.take(np.arange(3))
    some = ask(GAUSSIAN, taken, TABLE, PAIRS, criterion="random", key=KEY).index
    np.testing.assert_array_equal(some, found[0][:3])
