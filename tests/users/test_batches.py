"""Batches of users against single ones, whatever the lengths of their answers."""

import jax.numpy as jnp
import numpy as np

from lore_jax.data.preferences import from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior, SimplexPrior
from lore_jax.users.adapt import adapt
from lore_jax.users.answers import Answers
from lore_jax.users.batches import BatchSolver, solve_users

RANK, USERS, SLOTS = 3, 5, 64
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((14, RANK)).astype(np.float32)
COUNT = np.array([3, 40, 0, 32, 7], np.int32)
CHOSEN = RNG.integers(14, size=(USERS, SLOTS)).astype(np.int32)
REJECTED = ((CHOSEN + RNG.integers(1, 14, size=CHOSEN.shape)) % 14).astype(np.int32)
ANSWERS = Answers(CHOSEN, REJECTED, np.tile(np.arange(float(SLOTS)), (USERS, 1)), COUNT)


def model_of(prior):
    return Model(LinearBasis(RANK), {"V": jnp.eye(RANK)}, jnp.ones(()), prior)


def check(prior):
    model, live = model_of(prior), np.arange(SLOTS) < COUNT[:, None]
    user = np.repeat(np.arange(USERS), COUNT)
    prefs = from_arrays(TABLE, CHOSEN[live], REJECTED[live], user, num_users=USERS)
    solver = BatchSolver(model, jnp.asarray(TABLE), USERS, 40)
    solver.warmup()
    programs = solve_users._cache_size()
    posterior, known = solver.solve(ANSWERS)
    expected = adapt(model, prefs)
    np.testing.assert_allclose(posterior.weights, expected.weights, atol=1e-5)
    np.testing.assert_allclose(posterior.covariance, expected.covariance, atol=1e-5)
    np.testing.assert_allclose(known.weights[:, 0], posterior.weights, atol=1e-6)
    alone, _ = solver.solve(ANSWERS.take(np.array([1])))
    np.testing.assert_allclose(alone.weights[0], posterior.weights[1], atol=1e-5)
    assert solve_users._cache_size() == programs


def test_lengths_are_mixed():
    check(GaussianPrior(jnp.ones(RANK), jnp.eye(RANK)))


def test_a_simplex_has_weights_and_no_spread():
    check(SimplexPrior(jnp.full(RANK, 1 / RANK)))
