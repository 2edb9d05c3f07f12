"""Solving from entries: rankings by neighbours and by pairs alike, an intercept where some rate."""

import jax.numpy as jnp
import numpy as np
import pytest
from small_objects import small_objects

from lore_jax.model.answer_model import begin_answers
from lore_jax.model.model import table_of_rewards
from lore_jax.model.prior import SimplexPrior
from lore_jax.users.answer_solver import AnswerSolver
from lore_jax.users.answering import adapt_answers
from lore_jax.users.entries import lay_out_entries


@pytest.fixture(scope="module")
def made():
    objects = small_objects()
    return objects["model"], objects["feedback"]


def test_neighbours_and_pairs_of_rankings_say_the_same(made):
    model, feedback = made
    table = table_of_rewards(model, feedback.embeddings)
    how = begin_answers(feedback)
    solver = AnswerSolver(model.prior, how, table, with_intercept=True)
    assert solver.neighbours
    users = np.arange(6, dtype=np.int32)
    counts = [8] * len(feedback.blocks)
    by_neighbours, by_pairs = (
        solver.solve(lay_out_entries(feedback, users, counts, neighbours=neighbours))
        for neighbours in (True, False)
    )
    assert by_pairs.weights.shape == (6, model.rank + 1)
    np.testing.assert_allclose(by_neighbours.weights, by_pairs.weights, atol=1e-4)
    np.testing.assert_allclose(by_neighbours.covariance, by_pairs.covariance, atol=1e-4)
    known = adapt_answers(model, how, feedback)
    np.testing.assert_allclose(by_pairs.weights[:, -1], known.intercept[:6], atol=1e-4)


def test_with_lapses_rankings_stand_by_their_pairs(made):
    model, feedback = made
    table = table_of_rewards(model, feedback.embeddings)
    how = begin_answers(feedback, lapse=0.1)
    assert not AnswerSolver(model.prior, how, table, with_intercept=True).neighbours


def test_intercepts_need_a_gaussian_prior(made):
    model, feedback = made
    table = table_of_rewards(model, feedback.embeddings)
    simplex = model.replace(prior=SimplexPrior(jnp.full(model.rank, 1.0 / model.rank)))
    how = begin_answers(feedback)
    with pytest.raises(ValueError, match="SimplexPrior: ratings need a GaussianPrior"):
        AnswerSolver(simplex.prior, how, table, with_intercept=True)
