"""The layout, looked at from outside: which pairs and which users stand in it, and how often."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lore_jax.data.preferences import from_arrays
from lore_jax.parallel.buckets import UserBucket, add_to_rows, features, lay_out, over_users


def ragged(count):
    """Preferences of users with `count` pairs each; the weight of a pair names it."""
    user = np.repeat(np.arange(len(count)), count)
    chosen = np.arange(len(user)) % 7
    table = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    weight = 1.0 + np.arange(len(user))
    return from_arrays(table, chosen, chosen + 1, user, pair_weight=weight, num_users=len(count))


counts = st.lists(st.integers(0, 20), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(count=counts, shards=st.integers(1, 9))
def test_every_pair_and_every_user_once(count, shards):
    prefs = ragged(count)
    buckets, layout = lay_out(prefs, shards)
    entries = []
    for bucket, ids in zip(buckets, layout.ids, strict=True):
        assert bucket.chosen.shape == bucket.rejected.shape == bucket.pair_weight.shape
        assert bucket.chosen.shape[0] == len(ids) == shards
        longest = max(count[user] for user in ids[ids >= 0])
        assert longest <= bucket.chosen.shape[1] < 1.5 * longest  # padded to its own longest user
        for shard, shot, slot in zip(*np.nonzero(bucket.pair_weight), strict=True):
            entry = (shard, shot, slot)
            entries.append(
                (
                    int(bucket.pair_weight[entry]),
                    ids[shard, slot],
                    bucket.chosen[entry],
                    bucket.rejected[entry],
                )
            )
    expected = zip(
        prefs.pair_weight.astype(int), prefs.user, prefs.chosen, prefs.rejected, strict=True
    )
    assert sorted(entries) == sorted(expected)
    placed = np.concatenate([ids.ravel() for ids in layout.ids]) if layout.ids else np.zeros(0, int)
    assert sorted(placed[placed >= 0]) == np.flatnonzero(count).tolist()


def test_few_pairs_are_one_bucket_and_like_sizes_one_shape():
    shapes = set()
    for seed, users in ((0, 60), (1, 63), (2, 58)):
        count = np.random.default_rng(seed).integers(4, 60, users)
        buckets, _ = lay_out(ragged(count.tolist()), 1)
        shapes.add(tuple(bucket.chosen.shape for bucket in buckets))
    assert shapes == {((1, 64, 64),)}
    many = np.random.default_rng(0).integers(1, 60, 2000)
    buckets, _ = lay_out(ragged(many.tolist()), 1)
    assert len(buckets) > 1
    assert sum(bucket.chosen.size for bucket in buckets) < 1.6 * many.sum()


@settings(max_examples=60, deadline=None)
@given(count=counts, shards=st.integers(1, 9), depth=st.integers(0, 2))
def test_spread_and_collect_round_trip(count, shards, depth):
    _, layout = lay_out(ragged(count), shards)
    values = 1.0 + np.random.default_rng(1).random((len(count), 3, 2)[: 1 + depth])
    spread = layout.spread(values)
    for ids, leaf in zip(layout.ids, spread.buckets, strict=True):
        assert leaf.shape == (shards, *values.shape[1:], ids.shape[1])
        assert not np.moveaxis(leaf, -1, 1)[ids < 0].any()
    fill = np.full(values.shape[1:], -5.0)
    back = layout.collect(spread, fill)
    expected = np.where((np.array(count) > 0).reshape(-1, *[1] * depth), values, fill)
    np.testing.assert_array_equal(back, expected)


@settings(max_examples=30, deadline=None)
@given(count=counts, shards=st.integers(1, 9), depth=st.integers(0, 2))
def test_values_of_pairs_stand_beside_their_pairs(count, shards, depth):
    prefs = ragged(count)
    buckets, layout = lay_out(prefs, shards)
    factor = (
        np.array([[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]])[(0,) * (2 - depth)]
        if depth
        else np.array(1.0)
    )
    values = factor[..., None] * prefs.pair_weight  # [..., pairs]
    for bucket, leaf in zip(buckets, layout.spread_pairs(values), strict=True):
        expected = np.multiply.outer(factor, bucket.pair_weight)  # [..., shards, shots, users]
        np.testing.assert_array_equal(leaf, np.moveaxis(expected, -3, 0))


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_shards_get_like_work(shards):
    rng = np.random.default_rng(2)
    count = rng.integers(1, 60, 200)
    buckets, _ = lay_out(ragged(count), shards)
    work = sum((bucket.pair_weight > 0).sum(axis=(1, 2)) for bucket in buckets)
    assert work.sum() == count.sum()
    # Dealt in the order of length, two shards differ in a bucket by at most its longest user.
    assert work.max() - work.min() <= sum(bucket.pair_weight.shape[1] for bucket in buckets)


def test_features_are_differences_of_rewards():
    prefs = ragged([3, 2, 0, 5])
    table = np.random.default_rng(3).normal(size=(8, 4)).astype(np.float32)
    buckets, _ = lay_out(prefs, 1)
    for bucket in buckets:
        inside = type(bucket)(bucket.chosen[0], bucket.rejected[0], bucket.pair_weight[0])
        differences = np.asarray(features(table, inside))
        for shot, slot in np.ndindex(inside.chosen.shape):
            expected = table[inside.chosen[shot, slot]] - table[inside.rejected[shot, slot]]
            np.testing.assert_array_equal(differences[:, shot, slot], expected)


@pytest.mark.parametrize("most", [1, 8, 10, 1000])
@pytest.mark.parametrize("users", [1, 7, 12])
def test_users_in_parts_are_the_users_at_once(users, most):
    rng = np.random.default_rng(0)
    chosen, rejected = rng.integers(9, size=(2, 4, users))
    bucket = UserBucket(chosen, rejected, np.float32(rng.uniform(size=(4, users))))
    weights = jnp.asarray(rng.normal(size=(3, users)), jnp.float32)

    def work(rows, part, weights):
        assert part.chosen.size <= max(most, 4) or most == 1000
        values = part.pair_weight * weights[0][None]
        return add_to_rows(rows, part, values), {"w": weights * part.pair_weight.sum(axis=0)[None]}

    found = over_users(work, jnp.zeros(9), bucket, weights, most=most)
    values = bucket.pair_weight * np.asarray(weights)[0]
    rows = np.zeros(9)
    np.add.at(rows, chosen, values)
    np.add.at(rows, rejected, -values)
    expected = rows, {"w": np.asarray(weights) * bucket.pair_weight.sum(axis=0)}
    chex.assert_trees_all_close(found, expected, atol=1e-5)
