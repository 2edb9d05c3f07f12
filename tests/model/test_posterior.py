"""Posteriors: rows taken, parts joined, the population's, and one line for people."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import POSTERIOR_ARRAYS, Posterior, join, population_posterior
from lore_jax.model.prior import GaussianPrior, SimplexPrior

RANK = 3


def make(users, seed=0, named=True):
    rng = np.random.default_rng(seed)
    return Posterior(
        weights=rng.normal(size=(users, RANK)).astype(np.float32),
        covariance=rng.normal(size=(users, RANK, RANK)).astype(np.float32),
        shots=rng.integers(9, size=users).astype(np.int32),
        converged=rng.random(users) < 0.5,
        steps=rng.integers(9, size=users).astype(np.int32),
        grad_norm=rng.random(users).astype(np.float32),
        user_ids=np.array([f"user {seed}.{i}" for i in range(users)]) if named else None,
    )


def test_it_is_one_line_of_sizes():
    assert repr(make(2500)) == "Posterior(2,500 users, rank 3)"
    one_user = dataclasses.replace(make(1), weights=np.zeros(RANK, np.float32))
    assert repr(one_user) == "Posterior(weights [3])"


def test_every_array_has_its_name():
    names = [field.name for field in dataclasses.fields(Posterior) if field.name != "user_ids"]
    assert tuple(names) == POSTERIOR_ARRAYS


def test_taking_users():
    posterior = make(5)
    taken = posterior.take(np.array([2, 0]))
    assert taken.num_users == 2
    assert taken.user_ids.tolist() == ["user 0.2", "user 0.0"]
    for name in POSTERIOR_ARRAYS:
        np.testing.assert_array_equal(getattr(taken, name), getattr(posterior, name)[[2, 0]])
    assert make(5, named=False).take(np.array([1])).user_ids is None


def test_joining_is_the_inverse_of_taking():
    whole = make(7)
    joined = join([whole.take(np.arange(3)), whole.take(np.arange(3, 7))])
    for name in (*POSTERIOR_ARRAYS, "user_ids"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert join([make(2), make(3, seed=1, named=False)]).user_ids is None


@pytest.mark.parametrize(
    "prior",
    [GaussianPrior(jnp.arange(3.0), jnp.eye(3)[:, 1:]), SimplexPrior(jnp.full(3, 1 / 3))],
    ids=["gaussian", "simplex"],
)
def test_nobody_known_is_the_prior(prior):
    model = Model(LinearBasis(RANK), {"V": jnp.ones((4, RANK))}, jnp.ones(()), prior)
    names = np.array(["a", "b"])
    posterior = population_posterior(model, 2, names)
    assert posterior.user_ids is names
    for user in range(2):
        np.testing.assert_array_equal(posterior.weights[user], prior.mean)
        np.testing.assert_array_equal(posterior.covariance[user], prior.covariance)
    assert posterior.converged.all()
    assert not posterior.shots.any()
    assert population_posterior(model, 0).weights.shape == (0, RANK)
