"""Batches of users against single ones and against a fit of all answers together."""

import dataclasses

import numpy as np
import pytest
from small_objects import KINDS, small_objects

from lore_jax.data.feedback import answers, from_answers
from lore_jax.model.answer_model import begin_answers
from lore_jax.model.model import table_of_rewards
from lore_jax.users.answer_batches import AnswerBatchSolver, solve_users
from lore_jax.users.answering import adapt_answers
from lore_jax.users.kept_answers import added, no_answers

USERS, CAPACITY = 6, 8
PLACE = np.array([0, 0, 1, 3, 3, 3, 3, 5])  # users 2 and 4 say nothing


@pytest.fixture(scope="module")
def said():
    """The model, how people answer, and the same answers as feedback and as kept."""
    objects, rng = small_objects(), np.random.default_rng(0)
    feedback, blocks, kept = objects["feedback"], [], []
    for kind in KINDS:
        items = np.stack([rng.permutation(feedback.num_responses)[: kind.num_items] for _ in PLACE])
        by_level = kind.levels and kind.name != "pair"
        levels = rng.integers(kind.levels, size=len(PLACE)) if by_level else None
        blocks.append(answers(kind, items, PLACE, outcome=levels))
        order = np.arange(1, len(PLACE) + 1)
        kept.append(added(no_answers(kind, USERS), blocks[-1], PLACE, order, CAPACITY))
    together = from_answers(feedback.embeddings, blocks, num_users=USERS)
    return objects["model"], begin_answers(feedback), together, kept


def check(model, how, together, kept, kinds, num_users):
    table = table_of_rewards(model, together.embeddings)
    solver = AnswerBatchSolver(model, how, table, kinds, num_users, CAPACITY)
    solver.warmup()
    programs = solve_users._cache_size()
    found, expected = solver.solve(kept), adapt_answers(model, how, together)
    np.testing.assert_array_equal(found.users.shots, expected.users.shots)
    np.testing.assert_allclose(found.users.weights, expected.users.weights, atol=1e-5)
    np.testing.assert_allclose(found.users.covariance, expected.users.covariance, atol=1e-5)
    for name in ("intercept", "intercept_variance", "intercept_covariance"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5)
    alone = solver.solve([part.take(np.array([3])) for part in kept])
    np.testing.assert_allclose(alone.users.weights[0], found.users.weights[3], atol=1e-5)
    np.testing.assert_allclose(alone.intercept[0], found.intercept[3], atol=1e-5)
    assert solve_users._cache_size() == programs


def test_batches_are_users_alone_and_a_fit_of_all_answers(said):
    check(*said, list(KINDS), 4)  # six users: the second batch of four repeats its last one


def test_with_lapses_and_without_ratings(said):
    model, how, together, kept = said
    kinds = [kind for kind in KINDS if kind.name in ("tie", "ranking")]
    kept = [kept[list(KINDS).index(kind)] for kind in kinds]
    how = dataclasses.replace(how, lapse=0.1)
    check(model, how, together.take_kinds("tie", "ranking"), kept, kinds, 1)
