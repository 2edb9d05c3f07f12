"""VPL against NumPy and finite differences; the encoder tells groups apart; nothing leaks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trained_networks import (
    accuracy_of_bradley_terry,
    accuracy_of_unseen,
    directional_derivative,
    groups_of_users,
    of_user,
    perturbed,
    some_pairs,
    some_table,
)

from lore_jax.methods.rivals.draws import Drawn, context_and_targets
from lore_jax.methods.rivals.network import Step
from lore_jax.methods.rivals.set_encoder import kl_from_prior
from lore_jax.methods.rivals.variational import VariationalConfig

SMALL = VariationalConfig(
    steps=200,
    stop_after=200,
    learning_rate=5e-3,
    weight_decay=0.01,
    kl_weight=0.3,
    users_a_step=64,
    latent=4,
    width=32,
)


def leaky(x):
    return np.where(x > 0, x, 0.01 * x)


def encode_by_numpy(params, table, pairs):
    """Mean and log variance of q(z)."""
    params, table = jax.tree.map(np.asarray, (params, table))
    both = table @ params["pairs"]["kernel"].T * table.shape[1] ** 0.5 / 2.0
    encoder, width = params["encoder"], both.shape[1] // 2
    hidden = leaky(both[pairs.chosen, :width] + both[pairs.rejected, width:] + encoder["bias"])
    attention = pairs.weight * np.exp(hidden @ encoder["attention"]["kernel"][:, 0])
    pooled = attention / (attention.sum() + 1.0) @ hidden
    return pooled @ encoder["mean"]["kernel"], pooled @ encoder["log_variance"]["kernel"]


def decode_by_numpy(params, table, z, pairs):
    """Margins."""
    params, table = jax.tree.map(np.asarray, (params["decoder"], table))
    first = table @ params["response"]["kernel"].T * table.shape[1] ** 0.5 / 2.0
    hidden = leaky(first + z @ params["user"]["kernel"] + params["user"]["bias"])
    rewards = hidden @ params["reward"]["kernel"][:, 0]
    return rewards[pairs.chosen] - rewards[pairs.rejected]


def drawn_and_params():
    params = perturbed(SMALL.init_params(6, key=jax.random.key(0)))
    pairs = some_pairs(pairs=9)
    return params, Drawn(jnp.arange(3), pairs, jnp.asarray(pairs.weight.sum(axis=1)))


def objective_of(params, drawn, *, progress=0.25):
    hyper, progress = {"kl_weight": jnp.float32(0.6)}, jnp.float32(progress)
    step = Step(drawn, jnp.zeros((3, 0)), hyper, jax.random.key(7), progress)
    return SMALL.objective(params, SMALL.rows(params, some_table(), 2.0), step)


def test_encoder_and_decoder_equal_the_formulas():
    params, drawn = drawn_and_params()
    table, pairs = some_table(), of_user(drawn.pairs, 1)
    rows = SMALL.rows(params, table, 2.0)
    user = SMALL.encode(params, rows, pairs)
    for got, expected in zip(user, encode_by_numpy(params, table, pairs), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)
    z = np.array([0.5, -1.0, 2.0, 0.0], np.float32)
    got = SMALL.decode(params, rows, jnp.asarray(z), pairs)
    np.testing.assert_allclose(got, decode_by_numpy(params, table, z, pairs), atol=1e-4)


def test_the_objective_equals_the_formula():
    params, drawn = drawn_and_params()
    table, loss, weight = some_table(), 0.0, 0.0
    for user, key in enumerate(jax.random.split(jax.random.key(7), 3)):
        key_parts, key_z = jax.random.split(key)
        parts = context_and_targets(of_user(drawn.pairs, user), key=key_parts)
        context, targets = (jax.tree.map(np.asarray, part) for part in parts)
        mean, log_variance = encode_by_numpy(params, table, context)
        z = mean + np.exp(log_variance / 2) * np.asarray(jax.random.normal(key_z, (4,)))
        margin = decode_by_numpy(params, table, z, targets)
        loss += np.sum(targets.weight * np.logaddexp(0.0, -margin))
        kl = 0.5 * np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance)
        # a quarter of the steps: half of the weight
        loss += 0.5 * 0.6 * kl * bool(targets.weight.sum())
        weight += targets.weight.sum()
    got = objective_of(params, drawn)
    assert weight > 0
    np.testing.assert_allclose(got.loss, loss, rtol=1e-4)
    np.testing.assert_allclose(got.weight, weight, rtol=1e-5)


def test_gradients_equal_finite_differences():
    params, drawn = drawn_and_params()
    loss = jax.jit(lambda params: objective_of(params, drawn).loss)
    by_jax, by_differences = directional_derivative(loss, params)
    np.testing.assert_allclose(by_jax, by_differences, rtol=2e-2)


def test_without_shots_the_user_is_the_prior():
    params, drawn = drawn_and_params()
    rows = SMALL.rows(params, some_table(), 2.0)
    pairs = of_user(drawn.pairs, 0)
    nobody = dataclasses.replace(pairs, weight=np.zeros(9, np.float32))
    user = SMALL.encode(params, rows, nobody)
    np.testing.assert_allclose(user.mean, 0.0)
    np.testing.assert_allclose(kl_from_prior(user), 0.0)
    mean, variance = SMALL.user_margins(params, rows, nobody, pairs, {})
    assert (variance > 0).all()
    # margins change sign with the sides, so the sides say nothing
    turned = dataclasses.replace(pairs, chosen=pairs.rejected, rejected=pairs.chosen)
    other, _ = SMALL.user_margins(params, rows, nobody, turned, {})
    np.testing.assert_allclose(mean, -other, atol=1e-5)


def test_groups_of_users_are_told_apart():
    split = groups_of_users()
    _, (generic, after) = accuracy_of_unseen(split, SMALL, (0, 20))
    assert after > accuracy_of_bradley_terry(split) + 0.03
    assert after > generic


@pytest.mark.parametrize("field", ["latent", "width"])
def test_impossible_settings_are_refused(field):
    with pytest.raises(ValueError, match=f"{field} is 0: 1 or more is expected"):
        dataclasses.replace(SMALL, **{field: 0})
