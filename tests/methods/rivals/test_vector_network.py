"""The joint objective against NumPy and finite differences; a user refitted, the generic one."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from trained_networks import (
    SMALL,
    directional_derivative,
    of_user,
    p_rlhf_margins,
    perturbed,
    some_pairs,
    some_table,
)

from lore_jax.methods.rivals.draws import Drawn
from lore_jax.methods.rivals.network import Step
from lore_jax.methods.rivals.user_embeddings import UserEmbeddingsConfig

HYPER = {"spread": jnp.float32(0.8)}


@dataclasses.dataclass(frozen=True)
class NeverDropped(UserEmbeddingsConfig):
    DROPOUT: ClassVar[float] = 0.0


@dataclasses.dataclass(frozen=True)
class AlwaysDropped(UserEmbeddingsConfig):
    DROPOUT: ClassVar[float] = 1.0


def draw_and_params(kind):
    method = kind(**dataclasses.asdict(SMALL))
    params = perturbed(method.init_params(6, key=jax.random.key(0)))
    pairs = some_pairs()
    weight = np.array([9.0, 4.0, 7.0], np.float32)
    vectors = np.random.default_rng(3).normal(size=(3, method.vector_size))
    return (
        method,
        params,
        Drawn(jnp.arange(3), pairs, jnp.asarray(weight)),
        jnp.asarray(vectors, jnp.float32),
    )


def objective_of(method, params, drawn, vectors):
    rows = method.rows(params, some_table(), 2.0)
    step = Step(drawn, vectors, HYPER, jax.random.key(0), jnp.float32(0.5))
    return method.objective(params, rows, step)


def test_the_objective_equals_the_formula():
    for kind, share in ((NeverDropped, 1.0), (AlwaysDropped, 0.0)):
        method, params, drawn, vectors = draw_and_params(kind)
        got = objective_of(method, params, drawn, vectors)
        expected = 0.0
        for user in range(3):
            pairs = of_user(drawn.pairs, user)
            z = p_rlhf_margins(params, some_table(), share * vectors[user], pairs)
            mean = np.sum(pairs.weight * np.logaddexp(0.0, -z)) / pairs.weight.sum()
            penalty = np.sum(vectors[user] ** 2) / (2 * 0.8**2)
            expected += float(drawn.weight[user]) * mean + penalty
        np.testing.assert_allclose(got.loss, expected, rtol=1e-5)
        np.testing.assert_allclose(got.weight, 20.0)


def test_gradients_equal_finite_differences():
    method, params, drawn, vectors = draw_and_params(NeverDropped)

    @jax.jit
    def loss(values):
        return objective_of(method, values[0], drawn, values[1]).loss

    by_jax, by_differences = directional_derivative(loss, (params, vectors))
    np.testing.assert_allclose(by_jax, by_differences, rtol=2e-2)


def test_a_user_is_refitted_and_without_shots_generic():
    method, params, drawn, _ = draw_and_params(UserEmbeddingsConfig)
    rows = method.rows(params, some_table(), 2.0)
    shots = of_user(drawn.pairs, 0)
    margin, variance = method.user_margins(params, rows, shots, shots, HYPER)
    assert not np.any(variance)
    nobody = dataclasses.replace(shots, weight=np.zeros(5, np.float32))
    generic, _ = method.user_margins(params, rows, nobody, shots, HYPER)
    expected = p_rlhf_margins(params, some_table(), np.zeros(method.vector_size), shots)
    np.testing.assert_allclose(generic, expected, atol=1e-5)
    loss = [np.sum(shots.weight * np.logaddexp(0.0, -z)) for z in (margin, generic)]
    assert loss[0] < loss[1]
