"""The outer loss against a transcription, its gradient against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inner_steps_by_numpy import softmax, user_logits
from joint_fit import differences, problem

from lore_jax.methods.rivals.outer_loss import Meta, MetaHyper, draw_support, outer_loss
from lore_jax.parallel.buckets import PerUser
from lore_jax.parallel.devices import over_shards, place, total


def transcribed(prefs, meta, support, temperature, held=None):
    """The outer loss, and the weights of users; `held` keeps those as given."""
    x, losses = differences(prefs), {}
    for user in range(prefs.num_users):
        mine = (prefs.user == user) & (prefs.pair_weight > 0)
        f, weight, given = x[mine] @ meta.rewards, prefs.pair_weight[mine], support[mine]
        query = weight * (1.0 - given)
        if query.sum():
            mix = softmax(user_logits(meta.start, np.exp(meta.log_rate), f, weight * given))
            losses[user] = query @ np.logaddexp(0.0, -f @ mix) / query.sum()
    loss = np.array(list(losses.values()))
    held = softmax(loss / temperature) if held is None else held
    return held @ loss, held


@pytest.fixture(scope="module")
def case():
    prefs, rng = problem(dim=3), np.random.default_rng(0)
    meta = Meta(
        rng.normal(size=(3, 2)).astype(np.float32), np.float32([0.3, -0.2]), np.float32(0.5)
    )
    return prefs, meta, rng.integers(2, size=prefs.num_pairs).astype(np.float32)


def both(prefs, meta, support, devices=1):
    """Loss and gradient, summed over the shards."""
    data, layout = place(prefs, 1.0, jax.devices()[:devices])
    hyper = MetaHyper(jnp.ones(2), jnp.float32(0.7))

    def run(support, data, meta):
        found = jax.value_and_grad(outer_loss)(meta, data, hyper, support)
        return total(found)

    spread = layout.spread_pairs(support)
    program = over_shards(run, donate=False, devices=jax.devices()[:devices])
    loss, gradient = program(spread, data, meta)
    return float(loss[0]), jax.tree.map(lambda leaf: np.asarray(leaf[0]), gradient)


@pytest.mark.parametrize("devices", [1, 8])
def test_loss_and_second_order_gradient(case, devices):
    prefs, meta, support = case
    loss, gradient = both(prefs, meta, support, devices)
    expected, held = transcribed(prefs, meta, support, 0.7)
    assert loss == pytest.approx(expected, rel=1e-5)
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda leaf: np.asarray(leaf, float), meta))
    for number, (leaf, found) in enumerate(zip(leaves, jax.tree.leaves(gradient), strict=True)):
        for index in np.ndindex(leaf.shape):
            ends = []
            for move in (1e-5, -1e-5):
                moved = [part.copy() for part in leaves]
                moved[number][index] += move
                there = jax.tree.unflatten(tree, moved)
                ends.append(transcribed(prefs, there, support, 0.7, held)[0])
            slope = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(found[index], slope, atol=2e-4, rtol=1e-3)


def test_supports_do_not_depend_on_the_shards():
    prefs, drawn = problem(), []
    for devices in (1, 8):
        data, layout = place(prefs, 1.0, jax.devices()[:devices])
        program = over_shards(
            lambda _, data, key: draw_support(data, jax.random.wrap_key_data(key)),
            devices=jax.devices()[:devices],
        )
        key = np.asarray(jax.random.key_data(jax.random.key(0)))
        parts = program(jnp.zeros(devices), data, key)
        shares = PerUser(tuple(np.asarray(part)[:, :1].sum(axis=1) for part in parts))
        drawn.append(layout.collect(shares, 0.0))
    np.testing.assert_array_equal(*drawn)
