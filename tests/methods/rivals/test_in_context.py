"""The transformer against NumPy and finite differences; what sees what; few users are refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import problem
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
from lore_jax.methods.rivals.in_context import InContextConfig, differences
from lore_jax.methods.rivals.network import Step

SMALL = InContextConfig(
    steps=200,
    stop_after=200,
    learning_rate=5e-3,
    weight_decay=0.01,
    width=16,
    heads=2,
    layers=2,
)


def norm(x, p):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * p["scale"] + p["bias"]


def dense(x, p):
    return x @ p["kernel"] + p["bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def attend(tokens, seen, p):
    """Multi-head attention of tokens to all that is seen."""
    project = [
        np.einsum("tw,whd->thd", x, p[name]["kernel"]) + p[name]["bias"]
        for x, name in ((tokens, "query"), (seen, "key"), (seen, "value"))
    ]
    query, key, value = project
    logits = np.einsum("thd,shd->hts", query, key) / np.sqrt(query.shape[-1])
    weight = np.exp(logits - logits.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    mixed = np.einsum("hts,shd->thd", weight, value)
    return np.einsum("thd,hdw->tw", mixed, p["out"]["kernel"]) + p["out"]["bias"]


def scores_by_numpy(params, context, targets):
    """f of the targets; contexts are the pairs that count alone."""
    p = jax.tree.map(np.asarray, params["transformer"])
    context = np.concatenate([context + p["kinds"][0], p["kinds"][2:]])
    targets = targets + p["kinds"][1]
    for layer in range(2):
        block = p[f"_Block_{layer}"]
        seen = norm(context, block["LayerNorm_0"])
        after = []
        for tokens in (context, targets):
            inner = norm(tokens, block["LayerNorm_0"])
            tokens = tokens + attend(inner, seen, block["MultiHeadDotProductAttention_0"])
            hidden = gelu(dense(norm(tokens, block["LayerNorm_1"]), block["Dense_0"]))
            after.append(tokens + dense(hidden, block["Dense_1"]))
        context, targets = after
    return dense(norm(targets, p["LayerNorm_0"]), p["Dense_0"])[:, 0]


def tokens_by_numpy(params, table, pairs):
    """A (e_chosen - e_rejected)."""
    rows = np.asarray(table) @ np.asarray(params["pairs"]["kernel"]).T * 6**0.5 / 2.0
    return rows[pairs.chosen] - rows[pairs.rejected]


def drawn_and_params():
    params = perturbed(SMALL.init_params(6, key=jax.random.key(0)))
    pairs = some_pairs(pairs=9)
    return params, Drawn(jnp.arange(3), pairs, jnp.asarray(pairs.weight.sum(axis=1)))


def objective_of(params, drawn):
    step = Step(drawn, jnp.zeros((3, 0)), {}, jax.random.key(7), jnp.float32(0.0))
    return SMALL.objective(params, SMALL.rows(params, some_table(), 2.0), step)


def test_the_objective_equals_the_formula():
    params, drawn = drawn_and_params()
    table, loss, weight = some_table(), 0.0, 0.0
    for user, key in enumerate(jax.random.split(jax.random.key(7), 3)):
        key_parts, key_sides = jax.random.split(key)
        parts = context_and_targets(of_user(drawn.pairs, user), key=key_parts)
        context, targets = (jax.tree.map(np.asarray, part) for part in parts)
        side = np.asarray(jax.random.rademacher(key_sides, (9,), jnp.float32))
        given = tokens_by_numpy(params, table, context)[context.weight > 0]
        asked = side[:, None] * tokens_by_numpy(params, table, targets)
        margin = side * scores_by_numpy(params, given, asked)
        loss += np.sum(targets.weight * np.logaddexp(0.0, -margin))
        weight += targets.weight.sum()
    got = objective_of(params, drawn)
    assert weight > 0
    np.testing.assert_allclose(got.loss, loss, rtol=1e-3)
    np.testing.assert_allclose(got.weight, weight, rtol=1e-5)


def test_gradients_equal_finite_differences():
    params, drawn = drawn_and_params()
    loss = jax.jit(lambda params: objective_of(params, drawn).loss)
    by_jax, by_differences = directional_derivative(loss, params)
    np.testing.assert_allclose(by_jax, by_differences, rtol=2e-2)


def test_orders_do_not_matter_and_targets_do_not_see_one_another():
    params, drawn = drawn_and_params()
    rows = SMALL.rows(params, some_table(), 2.0)
    shots, targets = of_user(drawn.pairs, 0), of_user(drawn.pairs, 1)
    margins = jax.jit(lambda shots, targets: SMALL.user_margins(params, rows, shots, targets, {}))
    whole, variance = margins(shots, targets)
    assert not np.any(variance)
    order = np.random.default_rng(0).permutation(9)
    shuffled = jax.tree.map(lambda leaf: leaf[order], shots)
    np.testing.assert_allclose(margins(shuffled, targets)[0], whole, atol=1e-4)
    fewer = jax.tree.map(lambda leaf: leaf[:3], targets)
    np.testing.assert_allclose(margins(shots, fewer)[0], whole[:3], atol=1e-4)
    turned = dataclasses.replace(targets, chosen=targets.rejected, rejected=targets.chosen)
    np.testing.assert_allclose(margins(shots, turned)[0], -whole, atol=1e-4)
    # without shots it is what the token that is nobody's says
    nobody = dataclasses.replace(shots, weight=np.zeros(9, np.float32))
    tokens = np.asarray(differences(rows, targets))
    both = [scores_by_numpy(params, tokens[:0], side * tokens) for side in (1, -1)]
    np.testing.assert_allclose(margins(nobody, targets)[0], 0.5 * (both[0] - both[1]), atol=1e-3)


def test_groups_of_users_are_told_apart():
    split = groups_of_users()
    _, (generic, after) = accuracy_of_unseen(split, SMALL, (0, 20))
    assert after > accuracy_of_bradley_terry(split) + 0.03
    assert after > generic


def test_few_users_and_impossible_settings_are_refused():
    prefs = problem()
    with pytest.raises(ValueError, match="learns from users, and 19 have pairs: 20 or more"):
        SMALL.stages(prefs)
    with pytest.raises(ValueError, match="layers is 0: 1 or more is expected"):
        dataclasses.replace(SMALL, layers=0)
    with pytest.raises(ValueError, match="width is 15: a multiple of heads, 2, is expected"):
        dataclasses.replace(SMALL, width=15)
