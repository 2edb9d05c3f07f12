"""Two users who surely differ: found by brute force, in full, and not where nothing is sure."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from lore_jax.evaluation.different_picks import different_picks
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import GaussianPrior

USERS, PROMPTS = 12, 9


@pytest.fixture(scope="module")
def made():
    """Two columns that are the embedding itself; users with posteriors of different widths."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(3 * PROMPTS + 1, 2)).astype(np.float32)
    prompt = np.append(np.repeat(np.arange(PROMPTS), 3), -1).astype(np.int32)
    prior = GaussianPrior(jnp.zeros(2), jnp.eye(2))
    model = Model(LinearBasis(2), {"V": jnp.eye(2)}, jnp.float32(1.0), prior)
    half = rng.normal(size=(USERS, 2, 2)) * 0.3
    users = Posterior(
        weights=rng.normal(size=(USERS, 2)).astype(np.float32),
        covariance=(half @ half.transpose(0, 2, 1) + 0.01 * np.eye(2)).astype(np.float32),
        shots=np.full(USERS, 3, np.int32),
        converged=np.ones(USERS, bool),
        steps=np.ones(USERS, np.int32),
        grad_norm=np.zeros(USERS, np.float32),
        user_ids=np.array([f"person {i}" for i in range(USERS)]),
    )
    return model, users, table, prompt


def brute_force(users, table, prompt):
    """The largest smaller probability over all prompts and ordered pairs of users."""
    best = (0.0,)
    for group in range(PROMPTS):
        rows = np.flatnonzero(prompt == group)
        pick = rows[(np.asarray(users.weights, float) @ table[rows].T).argmax(axis=1)]
        for u in range(USERS):
            for v in range(u):
                step = np.asarray(table[pick[u]] - table[pick[v]], float)
                if pick[u] == pick[v]:
                    continue
                sure = [
                    norm.cdf(
                        sign
                        * users.weights[who]
                        @ step
                        / np.sqrt(step @ users.covariance[who] @ step)
                    )
                    for who, sign in ((u, 1.0), (v, -1.0))
                ]
                best = max(best, (min(sure), frozenset(((u, pick[u]), (v, pick[v])))))
    return best


def test_the_surest_pair_is_found(made):
    model, users, table, prompt = made
    found = different_picks(model, users, table, prompt=prompt)
    sure, who = brute_force(users, table, prompt)
    assert min(pick["sure"] for pick in found["picks"]) == pytest.approx(sure, rel=1e-4)
    named = {(int(pick["user"].split()[1]), pick["response"]) for pick in found["picks"]}
    assert named == who
    assert found["replies"] == 3
    unnamed = different_picks(
        model, dataclasses.replace(users, user_ids=None), table, prompt=prompt
    )
    expected = [pick["user"].replace("person", "user") for pick in found["picks"]]
    assert [pick["user"] for pick in unnamed["picks"]] == expected


def test_nothing_is_said_where_nothing_is_sure(made):
    model, users, table, prompt = made
    vague = dataclasses.replace(users, covariance=1000.0 * users.covariance)
    assert different_picks(model, vague, table, prompt=prompt) is None
    alike = dataclasses.replace(users, weights=np.ones_like(users.weights))
    assert different_picks(model, alike, table, prompt=prompt) is None
    assert different_picks(model, users, table, prompt=np.arange(len(table))) is None
    spreadless = dataclasses.replace(users, covariance=0.0 * users.covariance)
    assert different_picks(model, spreadless, table, prompt=prompt) is None
