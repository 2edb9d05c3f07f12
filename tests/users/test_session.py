"""A session says what `adapt` and `ask` say, compiles nothing after `warmup`, refuses in a line."""

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.data.preferences import from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior, MixturePrior
from lore_jax.solvers.mixture import Mixture
from lore_jax.users import batches, questions
from lore_jax.users.adapt import adapt
from lore_jax.users.questions import ask
from lore_jax.users.score import score
from lore_jax.users.session import Session

RANK, RESPONSES, USERS = 3, 14, 5
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((RESPONSES, RANK)).astype(np.float32)
PAIRS = np.stack(np.triu_indices(RESPONSES, 1), axis=1)[:40]
CENTRE = jnp.array([[1.2, 0.0, 0.0], [-1.2, 0.3, 0.0]])
MIXTURE = Mixture(jnp.log(jnp.array([0.4, 0.6])), CENTRE, jnp.tile(0.6 * jnp.eye(3), (2, 1, 1)))
GAUSSIAN = GaussianPrior(jnp.ones(RANK), jnp.eye(RANK))
MIXED = MixturePrior(jnp.ones(RANK), jnp.eye(RANK), MIXTURE)
NAMES = ["ann", "bob", "cid", "dan", "eve"]


def model_of(prior):
    return Model(LinearBasis(RANK), {"V": jnp.eye(RANK)}, jnp.ones(()), prior)


def session(prior=GAUSSIAN, **options):
    return Session(model_of(prior), TABLE, PAIRS, **{"users": NAMES, "capacity": 40, **options})


def answers(count, seed=1):
    rng = np.random.default_rng(seed)
    chosen = rng.integers(RESPONSES, size=count)
    rejected = (chosen + rng.integers(1, RESPONSES, size=count)) % RESPONSES
    return chosen, rejected, rng.integers(USERS, size=count)


def refit(prior, chosen, rejected, user, weight=None):
    prefs = from_arrays(TABLE, chosen, rejected, user, pair_weight=weight, num_users=USERS)
    return adapt(model_of(prior), prefs), prefs


def compiled():
    return batches.solve_users._cache_size(), questions.ask_chunk._cache_size()


@pytest.mark.parametrize("prior", [GAUSSIAN, MIXED], ids=["gaussian", "mixture"])
def test_answers_one_by_one_or_together_are_a_refit(prior):
    chosen, rejected, user = answers(60)
    capacity = 40 if prior is GAUSSIAN else 32
    one, many = (session(prior, capacity=capacity) for _ in range(2))
    for i in range(0, 60, 20):  # some users go past the first length
        part = slice(i, i + 20)
        many.observe(chosen[part], rejected[part], user[part])
    for c, r, u in zip(chosen, rejected, user, strict=True):
        one.observe(int(c), int(r), NAMES[u])
    expected, prefs = refit(prior, chosen, rejected, user)
    for found in (one, many):
        np.testing.assert_allclose(found.posterior.weights, expected.weights, atol=1e-5)
        np.testing.assert_allclose(found.posterior.covariance, expected.covariance, atol=1e-5)
        np.testing.assert_array_equal(found.posterior.shots, expected.shots)
    asked = ask(model_of(prior), expected, prefs, PAIRS)
    found = many.ask(NAMES)
    np.testing.assert_array_equal(found.index, asked.index)
    np.testing.assert_array_equal(found.first, asked.first)
    np.testing.assert_allclose(found.gain, asked.gain, atol=1e-5)
    scores = score(model_of(prior), expected, TABLE, [2, 0, 7])
    np.testing.assert_allclose(many.score([2, 0, 7], NAMES), scores, atol=1e-4)
    np.testing.assert_allclose(many.score([2, 0, 7], "bob"), scores[1], atol=1e-4)


def test_nothing_is_compiled_after_the_warmup():
    found = session(users=5)
    found.warmup()
    before = compiled()
    for i in range(36):  # past the first length
        question = found.ask(i % 5)
        found.observe(question.first[0, 0], question.second[0, 0], 0)
        found.score(np.arange(1 + i % 8), 0)
        np.testing.assert_allclose(
            found.score(TABLE[: 1 + i % 8], 0), found.score(np.arange(1 + i % 8), 0), atol=1e-5
        )
        found.ask([0, 1, 2])
    found.forget(0, last=1)
    found.observe([0, 1, 2], [3, 3, 3], [0, 1, 2])
    assert compiled() == before


def test_forgotten_answers_leave_no_trace():
    chosen, rejected, user = answers(20)
    found = session()
    nobody = found.posterior
    found.observe(chosen, rejected, user)
    kept = found.posterior
    found.observe([0, 1], [1, 2], "bob")
    assert found.forget("bob", last=2).user_ids.tolist() == ["bob"]
    np.testing.assert_allclose(found.posterior.weights, kept.weights, atol=1e-6)
    found.forget(NAMES)
    np.testing.assert_allclose(found.posterior.weights, nobody.weights, atol=1e-6)
    assert not found.posterior.shots.any()


def test_old_answers_count_less():
    chosen, rejected, _ = answers(6)
    time = np.array([0.0, 0.0, 1.0, 3.0, 3.5, 6.0])
    found = session(half_life=2.0)
    found.observe(chosen, rejected, "cid", time=time)
    weight = 2.0 ** (-(6.0 - time) / 2.0)
    expected, _ = refit(GAUSSIAN, chosen, rejected, np.full(6, 2), weight)
    np.testing.assert_allclose(found.posterior.weights[2], expected.weights[2], atol=1e-5)
    by_turns = session(half_life=2.0)
    by_turns.observe(chosen, rejected, "cid")  # without dates an answer is a unit of time
    expected, _ = refit(GAUSSIAN, chosen, rejected, np.full(6, 2), 2.0 ** (-np.arange(6)[::-1] / 2))
    np.testing.assert_allclose(by_turns.posterior.weights[2], expected.weights[2], atol=1e-5)


def test_contradictions_count_and_any_pair_may_be_answered():
    found = session(users=1)
    outside = (12, 13)
    assert not (np.asarray(outside) == PAIRS).all(axis=1).any()
    for _ in range(3):
        found.observe(*outside)
        found.observe(*outside[::-1])
    expected, _ = refit(GAUSSIAN, [12, 13] * 3, [13, 12] * 3, np.zeros(6, int))
    np.testing.assert_allclose(found.posterior.weights[0], expected.weights[0], atol=1e-5)


def test_all_candidates_asked():
    found = Session(model_of(GAUSSIAN), TABLE, [[0, 1], [2, 3]], count=2)
    assert sorted(found.ask().index[0]) == [0, 1]
    assert found.ask(without=[0]).index.tolist() == [[1, -1]]
    with pytest.raises(ValueError, match="without holds 2, outside a list of 2 candidates"):
        found.ask(without=[2])
    found.observe([0, 3], [1, 2])
    assert found.ask().index.tolist() == [[-1, -1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.observe(0, 14, "ann"), "rejected holds 14, outside a table of 14"),
        (lambda s: s.observe([0, -1], [1, 2], "ann"), "chosen holds -1, outside"),
        (lambda s: s.observe(3, 3, "ann"), "chosen equals rejected"),
        (lambda s: s.observe(0, 1, "zoe"), "user 'zoe' is not one of the 5 of this session"),
        (lambda s: s.observe(0, 1, 5), "user 5 is not one of the 5"),
        (lambda s: s.observe(0, 1), "user is None, but the session has 5 users"),
        (lambda s: s.observe([0, 1], [2], "ann"), "2 chosen, 1 rejected, 1 users"),
        (lambda s: s.observe([0, 1], [2, 3], ["ann", "bob", "cid"]), "3 users"),
        (lambda s: s.observe(0.5, 1, "ann"), "chosen has dtype float64"),
        (lambda s: s.observe(0, 1, "ann", time=-1.0), "dated -1, before the user's last one"),
        (lambda s: s.observe([0, 1], [2, 3], "ann", time=[9, 8]), "dated 8, before"),
        (lambda s: s.observe(0, 1, "ann", time=float("nan")), "1 finite numbers are expected"),
        (lambda s: s.observe(*answers(41)[:2], "bob"), "41 answers: at most 40"),
        (lambda s: s.score([14], "ann"), "rows holds 14, outside a table of 14"),
        (lambda s: s.score([], "ann"), "rows has dtype float64 and shape"),
        (lambda s: s.ask("zoe"), "user 'zoe'"),
        (lambda s: s.forget("ann", last=0), "last is 0"),
    ],
)
def test_a_refused_call_changes_nothing(call, message):
    found = session()
    found.observe([0, 1], [2, 3], "ann")
    before, count = found.posterior, found.answers.count.copy()
    with pytest.raises(ValueError, match=message) as refusal:
        call(found)
    assert "\n" not in str(refusal.value)
    np.testing.assert_array_equal(found.posterior.weights, before.weights)
    np.testing.assert_array_equal(found.answers.count, count)


def test_a_failing_solve_changes_nothing(monkeypatch):
    found = session()
    before = found.posterior

    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(batches, "solve_users", fail)
    with pytest.raises(RuntimeError):
        found.observe(0, 1, "ann")
    np.testing.assert_array_equal(found.posterior.weights, before.weights)
    assert not found.answers.count.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"users": 0}, "users is 0: 1 or more"),
        ({"users": []}, r"users has shape \(0,\)"),
        ({"users": ["ann", "ann"]}, "holds 'ann' 2 times"),
        ({"capacity": 0}, "capacity is 0"),
        ({"half_life": 0.0}, r"half_life is 0\.0: a number above 0"),
        ({"count": 41}, "count is 41: 1 to 40"),
        ({"criterion": "best"}, "criterion is 'best'"),
    ],
)
def test_bad_sessions_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        session(**options)


def test_without_candidates_there_is_nothing_to_ask():
    found = Session(model_of(GAUSSIAN), TABLE)
    found.warmup()
    with pytest.raises(ValueError, match="the session has no candidates"):
        found.ask()
