"""The compiled solver against XLA's: both find the modes of the same convex problems."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.data.answer_kinds import Kind
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.datasets.synthetic_feedback import FIVE, STARS, TIES, TRUE_ANSWERS, synthetic_feedback
from lore_jax.model.model import table_of_rewards
from lore_jax.model.prior import GaussianPrior, MixturePrior
from lore_jax.solvers.mixture import one_component
from lore_jax.solvers.native import library
from lore_jax.users import answer_solver, native_entries
from lore_jax.users.answer_solver import AnswerSolver
from lore_jax.users.answering import adapt_answers
from lore_jax.users.entries import lay_out_entries
from lore_jax.users.native_entries import can_solve, native_solver

needs_library = pytest.mark.skipif(library.load() is None, reason="built without a C++ compiler")
PAIRS, RANKING = Kind("pair", 2, levels=2), Kind("ranking", 4, places=3)
CHOICE, ENDS = Kind("ranking", 4, places=1), Kind("best_worst", 4)
EVERYTHING = dict.fromkeys((PAIRS, TIES, FIVE, STARS, RANKING, CHOICE, ENDS), 3)
CONFIG = SyntheticConfig(num_users=21, num_prompts=30, responses_per_prompt=4, dim=8, rank=3)
TRUTH = synthetic(CONFIG, seed=0)


def said(kinds):
    return synthetic_feedback(TRUTH, kinds, responses_per_prompt=4, seed=1).feedback


def model_of(size=1.0):
    """Rewards so much larger."""
    prior = TRUTH.model.prior
    return TRUTH.model.replace(prior=GaussianPrior(size * prior.mean, size * prior.factor))


@needs_library
@pytest.mark.parametrize("ties", ["davidson", "rao-kupper"])
@pytest.mark.parametrize("size", [1.0, 20.0])
@pytest.mark.parametrize(
    "kinds",
    [*({kind: 9} for kind in EVERYTHING), EVERYTHING],
    ids=[*(str(kind) for kind in EVERYTHING), "everything"],
)
def test_users_are_those_of_xla(kinds, size, ties, monkeypatch):
    if ties == "rao-kupper" and TIES not in kinds:
        pytest.skip("there are no ties")
    model, feedback = model_of(size), said(kinds)
    how = dataclasses.replace(TRUE_ANSWERS, ties=ties)
    native = adapt_answers(model, how, feedback)
    monkeypatch.setattr(answer_solver, "native_solver", lambda *_: None)
    by_xla = adapt_answers(model, how, feedback)
    assert native.users.converged.all()
    assert by_xla.users.converged.all()
    deviation = np.sqrt(np.einsum("uaa->ua", np.asarray(by_xla.users.covariance)))
    apart = np.abs(native.users.weights - by_xla.users.weights)
    assert (apart <= 2e-3 * deviation + 1e-4).all()
    mine, other = native.users.covariance, by_xla.users.covariance
    np.testing.assert_allclose(mine, other, rtol=5e-3, atol=1e-3)
    np.testing.assert_allclose(native.intercept, by_xla.intercept, atol=2e-3)
    np.testing.assert_allclose(native.intercept_variance, by_xla.intercept_variance, atol=2e-3)


def solver_and_entries(prior=None):
    feedback = said({RANKING: 4, STARS: 4})
    table = table_of_rewards(TRUTH.model, feedback.embeddings)
    solver = AnswerSolver(prior or model_of().prior, TRUE_ANSWERS, table, with_intercept=True)
    users = np.arange(11, dtype=np.int32)
    return solver, lay_out_entries(feedback, users, [4, 4], neighbours=True)


@needs_library
def test_who_stands_beside_a_user_changes_nothing():
    solver, entries = solver_and_entries()
    together = solver.solve(entries)
    feedback = said({RANKING: 4, STARS: 4})
    for user in range(11):
        one = np.array([user], np.int32)
        alone = solver.solve(lay_out_entries(feedback, one, [4, 4], neighbours=True))
        np.testing.assert_array_equal(together.weights[user], alone.weights[0])
        np.testing.assert_array_equal(together.covariance[user], alone.covariance[0])


@needs_library
@pytest.mark.parametrize("row", [-1, 10_000])
def test_a_row_that_is_not_there(row):
    solver, entries = solver_and_entries()
    wrong = entries.second.copy()
    wrong[0, 0] = row
    with pytest.raises(ValueError, match="responses"):
        solver.solve(entries._replace(second=wrong))


def test_what_xla_has_to_solve(monkeypatch):
    table, prior = jnp.ones((5, 4)), model_of().prior
    lapsing = dataclasses.replace(TRUE_ANSWERS, lapse=0.1)
    mixture = MixturePrior(prior.mean, prior.factor, one_component(prior.factor.shape[1]))
    assert native_solver(prior, lapsing, table) is None
    assert native_solver(mixture, TRUE_ANSWERS, table) is None
    assert (native_solver(prior, TRUE_ANSWERS, table) is None) == (library.load() is None)
    monkeypatch.setattr(native_entries, "load", lambda: None)
    assert native_solver(prior, TRUE_ANSWERS, table) is None
    _, entries = solver_and_entries()
    assert can_solve(entries)
    assert not can_solve(entries._replace(neighbours=False))
    assert not can_solve(entries._replace(kinds=(Kind("ranking", 65, places=1),)))
