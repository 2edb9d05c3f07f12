"""Draws are of users with pairs, evenly, without repeats; the two parts share no response."""

import jax
import jax.numpy as jnp
import numpy as np
from joint_fit import problem

from lore_jax.methods.rivals.draws import Pairs, context_and_targets, draw
from lore_jax.parallel.devices import over_shards, place


def drawn_users(prefs, users, pairs, *, devices=1, keys=1):
    """Ids of the users drawn, their pairs and weights, over all shards and some keys."""
    data, _ = place(prefs, 1.0, jax.devices()[:devices])

    def shard(_, data, seed):
        key = jax.random.fold_in(jax.random.key(seed), data.users.buckets[0][0] + 1)
        ids = jnp.concatenate(data.users.buckets)
        drawn = draw(data, users, pairs, key=key)
        return ids[drawn.users], drawn.pairs, drawn.weight

    program = over_shards(shard, devices=jax.devices()[:devices])
    found = [program(jnp.zeros(devices), data, seed) for seed in range(keys)]
    return [jax.tree.map(np.asarray, one) for one in found]


def test_pairs_are_the_users_own_and_differ():
    prefs = problem()
    for devices in (1, 8):
        for ids, pairs, weight in drawn_users(prefs, 16, 4, devices=devices, keys=3):
            for shard in range(devices):
                real = ids[shard][weight[shard] > 0]
                assert len(set(real.tolist())) == len(real)
                for i, user in enumerate(ids[shard]):
                    own = prefs.user == user
                    total = prefs.pair_weight[own].sum()
                    np.testing.assert_allclose(weight[shard, i], total, rtol=1e-5)
                    rows = np.stack([prefs.chosen, prefs.rejected], 1)[own].tolist()
                    live = pairs.weight[shard, i] > 0
                    count = min(4, int((prefs.pair_weight[own] > 0).sum()))
                    assert live.sum() == count
                    both = np.stack([pairs.chosen, pairs.rejected], -1)
                    got = both[shard, i][live].tolist()
                    assert all(row in rows for row in got)
                    assert len(set(map(tuple, got))) == len(got)


def test_users_are_drawn_evenly_and_nobody_without_pairs():
    prefs = problem()
    counts = np.zeros(prefs.num_users)
    for ids, _, weight in drawn_users(prefs, 5, 4, keys=60):
        counts[ids[weight > 0]] += 1
    able = prefs.weight_per_user() > 0
    assert not counts[~able].any()
    # 60 draws of 5 among 19 users: 15.8 each, with a standard deviation of 3.4
    assert counts[able].sum() == 300
    assert np.abs(counts[able] - 300 / able.sum()).max() < 4 * 3.4


def test_more_than_there_are_is_everything():
    prefs = problem()
    ((_, pairs, weight),) = drawn_users(prefs, 1000, 1000)
    np.testing.assert_allclose(weight.sum(), prefs.pair_weight.sum(), rtol=1e-5)
    np.testing.assert_allclose(pairs.weight.sum(), prefs.pair_weight.sum(), rtol=1e-5)


def test_context_and_targets_share_no_response():
    rng = np.random.default_rng(0)
    chosen = rng.integers(20, size=400).astype(np.int32)
    rejected = (chosen + rng.integers(1, 20, 400, np.int32)) % 20
    pairs = Pairs(chosen, rejected, rng.uniform(0.0, 2.0, 400).astype(np.float32))
    split = jax.jit(lambda key: context_and_targets(pairs, key=key))
    sizes = []
    for seed in range(20):
        found = jax.tree.map(np.asarray, split(jax.random.key(seed)))
        parts = [part.weight > 0 for part in found]
        rows = [set(chosen[part]) | set(rejected[part]) for part in parts]
        assert not rows[0] & rows[1]
        for part, weight in zip(found, parts, strict=True):
            np.testing.assert_array_equal(part.chosen, chosen)
            np.testing.assert_array_equal(part.weight[weight], pairs.weight[weight])
        sizes.append([part.mean() for part in parts])
    # a third of the pairs each, within four standard errors
    np.testing.assert_allclose(np.mean(sizes, axis=0), 1 / 3, atol=4 * 0.3 / 20**0.5)
