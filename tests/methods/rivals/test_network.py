"""What a network must say of itself, and what it need not."""

import jax
import jax.numpy as jnp
import pytest

from lore_jax.methods.rivals.draws import Drawn, Pairs
from lore_jax.methods.rivals.network import Step, UserNetwork


def test_a_network_says_all_but_vectors_of_users():
    network, table = UserNetwork(), jnp.zeros((2, 3))
    pairs = Pairs(jnp.array([0]), jnp.array([1]), jnp.ones(1))
    drawn = Drawn(jnp.zeros(1, int), jax.tree.map(lambda leaf: leaf[None], pairs), jnp.ones(1))
    step = Step(drawn, jnp.zeros((1, 0)), {}, jax.random.key(0), jnp.zeros(()))
    assert network.vector_size == 0
    for call in (
        lambda: network.init_params(3, key=jax.random.key(0)),
        lambda: network.rows({}, table, 1.0),
        lambda: network.objective({}, table, step),
        lambda: network.user_margins({}, table, pairs, pairs, {}),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_users_are_summed_each_with_a_key_of_its_own():
    pairs = Pairs(jnp.zeros((3, 2), int), jnp.ones((3, 2), int), jnp.arange(6.0).reshape(3, 2))
    drawn = Drawn(jnp.arange(3), pairs, jnp.ones(3))
    step = Step(drawn, jnp.zeros((3, 0)), {}, jax.random.key(0), jnp.zeros(()))
    found = step.over_users(
        lambda key, own: (jnp.sum(own.weight) * jax.random.uniform(key), jnp.sum(own.weight))
    )
    draws = [float(jax.random.uniform(key)) for key in jax.random.split(jax.random.key(0), 3)]
    assert len(set(draws)) == 3
    assert found.loss == pytest.approx(1 * draws[0] + 5 * draws[1] + 9 * draws[2], rel=1e-6)
    assert found.weight == 15
