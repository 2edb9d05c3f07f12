"""Equal pairs against brute force: which is which, and what they weigh together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.parallel.distinct_pairs import distinct_pairs


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr("lore_jax.parallel.distinct_pairs._MANY", 1)


def test_every_pair_finds_its_own():
    rng = np.random.default_rng(0)
    shapes = [(2, 9, 4), (2, 3, 11)]  # of buckets, of two shards
    buckets = [rng.integers(4, size=(2, *shape), dtype=np.int32) for shape in shapes]
    weights = [rng.uniform(size=shape).astype(np.float32) for shape in shapes]
    found = distinct_pairs([tuple(rows) for rows in buckets])
    for bucket, shape in enumerate(shapes):
        assert found.number[bucket].shape == shape
        for shard in range(2):
            number = found.number[bucket][shard]
            rows = found.chosen[shard, 0][number], found.rejected[shard, 0][number]
            np.testing.assert_array_equal(rows, buckets[bucket][:, shard])
    for shard in range(2):
        expected = np.zeros((4, 4))
        for rows, weight in zip(buckets, weights, strict=True):
            np.add.at(expected, tuple(rows[:, shard]), weight[shard])
        own = jax.tree.map(lambda leaf, shard=shard: leaf[shard], found)
        summed = np.zeros((4, 4))
        together = own.summed([jnp.asarray(weight[shard]) for weight in weights])
        np.add.at(summed, (own.chosen, own.rejected), together)
        np.testing.assert_allclose(summed, expected, rtol=1e-5)


def test_pairs_that_hardly_repeat_are_left_alone(monkeypatch):
    rows = np.arange(40, dtype=np.int32).reshape(1, 5, 8)
    assert distinct_pairs([(rows, rows + 1)]) is None
    assert distinct_pairs([(rows % 4, rows % 4 + 1)]) is not None
    monkeypatch.setattr("lore_jax.parallel.distinct_pairs._MANY", 41)
    assert distinct_pairs([(rows % 4, rows % 4 + 1)]) is None
