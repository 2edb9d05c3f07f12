"""PAL-A against NumPy and finite differences; ideal points are found by a few shots."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trained_networks import (
    accuracy_of_unseen,
    directional_derivative,
    of_user,
    perturbed,
    some_pairs,
    some_table,
)

import lore_jax as lore
from lore_jax.data.preferences import from_arrays
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.rivals.draws import Drawn
from lore_jax.methods.rivals.ideal_points import IdealPointsConfig
from lore_jax.methods.rivals.network import Step

SMALL = IdealPointsConfig(
    steps=200,
    stop_after=200,
    learning_rate=5e-3,
    weight_decay=0.01,
    spread=2.0,
    users_a_step=64,
    prototypes=4,
    size=8,
    width=32,
)


def ideal_points(seed=0, *, users=150, responses=400, pairs=40, dim=8):
    """A split of users whose ideal points are mixtures of three prototypes among the responses."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(responses, dim)).astype(np.float32)
    prototypes = rng.normal(size=(3, dim))
    points = rng.dirichlet([0.3] * 3, users) @ prototypes
    user = np.repeat(np.arange(users), pairs)
    prompts = rng.integers(responses // 4, size=len(user))
    first = rng.integers(4, size=len(user))
    a, b = 4 * prompts + first, 4 * prompts + (first + rng.integers(1, 4, len(user))) % 4
    distance = [np.sum((table[side] - points[user]) ** 2, axis=1) for side in (a, b)]
    a_wins = rng.random(len(user)) < 1 / (1 + np.exp(2.0 * (distance[0] - distance[1])))
    chosen, rejected = np.where(a_wins, a, b), np.where(a_wins, b, a)
    prefs = from_arrays(table, chosen, rejected, user, prompt=prompts)
    return lore.four_way(prefs, group_by="prompt", seed=seed)


def by_numpy(params, table, vector, pairs):
    """Margins of one user's pairs."""
    params, table = jax.tree.map(np.asarray, (params, table))
    network = params["network"]
    first = table @ network["FirstLayer_0"]["kernel"].T * table.shape[1] ** 0.5 / 2.0
    x = first + network["bias"]
    hidden = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    f = hidden @ network["Dense_0"]["kernel"] + network["Dense_0"]["bias"]
    weight = np.exp(params["logits"] + vector)
    ideal = weight / weight.sum() @ params["prototypes"]
    rewards = -np.sum((f - ideal) ** 2, axis=1)
    return rewards[pairs.chosen] - rewards[pairs.rejected]


def test_margins_equal_the_formula():
    params = perturbed(SMALL.init_params(6, key=jax.random.key(0)))
    table, pairs = some_table(), of_user(some_pairs(), 0)
    vector = np.random.default_rng(1).normal(size=4)
    rows = SMALL.rows(params, table, 2.0)
    assert rows.shape == (12, 8)
    got = SMALL.vector_margins(params, rows, jnp.asarray(vector, jnp.float32), pairs)
    np.testing.assert_allclose(got, by_numpy(params, table, vector, pairs), atol=1e-4)


def test_gradients_equal_finite_differences():
    params = perturbed(SMALL.init_params(6, key=jax.random.key(0)))
    drawn = Drawn(jnp.arange(3), some_pairs(), jnp.array([9.0, 4.0, 7.0]))

    @jax.jit
    def loss(values):
        rows = SMALL.rows(values[0], some_table(), 2.0)
        hyper, key = {"spread": jnp.float32(0.8)}, jax.random.key(0)
        step = Step(drawn, values[1], hyper, key, jnp.float32(0.0))
        return SMALL.objective(values[0], rows, step).loss

    vectors = jnp.asarray(np.random.default_rng(2).normal(size=(3, 4)), jnp.float32)
    by_jax, by_differences = directional_derivative(loss, (params, vectors))
    np.testing.assert_allclose(by_jax, by_differences, rtol=2e-2)


def test_ideal_points_are_found():
    split = ideal_points()
    _, (shared,) = accuracy_of_unseen(split, BradleyTerryConfig(ridge=3.0), (0,))
    _, (generic, after) = accuracy_of_unseen(split, SMALL, (0, 20))
    assert after > shared + 0.03
    assert after > generic


@pytest.mark.parametrize("field", ["prototypes", "size", "width"])
def test_impossible_settings_are_refused(field):
    with pytest.raises(ValueError, match=f"{field} is 0: 1 or more is expected"):
        dataclasses.replace(SMALL, **{field: 0})
