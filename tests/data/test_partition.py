"""The partition of responses, against all partitions of a few and on the shapes it is made for."""

import itertools

import numpy as np
import pytest
from sparse_shapes import raters, workers

from lore_jax.data.partition import connected, partition

HOLD_OUT = np.array([0.7, 0.3])


def nodes_of(prefs):
    sides = np.stack([prefs.chosen, prefs.rejected], axis=1)
    return np.unique(sides, return_inverse=True)[1].reshape(sides.shape)


def within(nodes, user, part, parts):
    """Pairs of each user inside each part, counted one by one."""
    counts = np.zeros((user.max() + 1, parts))
    for pair, owner in zip(nodes.tolist(), user.tolist(), strict=True):
        if len({part[node] for node in pair}) == 1:
            counts[owner, part[pair[0]]] += 1
    return counts


def objective(nodes, user, part, shares):
    counts = within(nodes, user, part, len(shares))
    return float(np.sum(shares * np.log(0.1 + counts) + 0.3 * np.minimum(counts, 1)))


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("shares", [HOLD_OUT, np.full(3, 1 / 3)], ids=["hold-out", "folds"])
def test_nearly_as_good_as_the_best_of_all_partitions(sides, shares):
    rng, better = np.random.default_rng(0), []
    for seed in range(10):
        nodes = np.stack([rng.permutation(8)[:sides] for _ in range(40)])
        nodes = np.concatenate([nodes, np.arange(8)[:, None] if sides == 1 else [[0, 7]]])
        user = rng.integers(3, size=len(nodes))
        found = objective(nodes, user, partition(nodes, user, shares, seed=seed), shares)
        everything = itertools.product(range(len(shares)), repeat=8)
        values = np.array([objective(nodes, user, part, shares) for part in everything])
        better.append(np.mean(values > found + 1e-9))
    # Local moves from few starts: not always the optimum.
    assert np.mean(better) < 0.03


def test_the_seed_decides_and_the_outcome_does_not():
    prefs = raters(users=40, texts=120)
    nodes = nodes_of(prefs)
    part = partition(nodes, prefs.user, HOLD_OUT, seed=0)
    np.testing.assert_array_equal(part, partition(nodes, prefs.user, HOLD_OUT, seed=0))
    np.testing.assert_array_equal(part, partition(nodes[:, ::-1], prefs.user, HOLD_OUT, seed=0))
    assert (part != partition(nodes, prefs.user, HOLD_OUT, seed=1)).any()


@pytest.mark.parametrize(
    ("prefs", "most_cut"),
    [
        (raters(), 0.30),
        (workers(users=150, pairs=10_000, texts=400, topics_each=3), 0.30),
        (workers(users=150, pairs=10_000, texts=400, topics_each=1), 0.41),
    ],
    ids=["raters", "workers with three topics", "workers with one topic"],
)
def test_fewer_pairs_are_cut_than_at_random_and_users_keep_both_sides(prefs, most_cut):
    nodes = nodes_of(prefs)
    part = partition(nodes, prefs.user, HOLD_OUT, seed=0)
    counts = within(nodes, prefs.user, part, 2)
    at_random = 1 - 0.7**2 - 0.3**2  # 42 %
    assert 1 - counts.sum() / prefs.num_pairs < most_cut < at_random
    assert (counts > 0).all(axis=1).mean() > 0.95
    assert 0.2 < part.mean() < 0.5


def test_users_keep_the_pairs_they_need():
    prefs = raters(users=100, texts=500)
    nodes, kept = nodes_of(prefs), []
    at_random = (np.random.default_rng(0).random(500) < 0.3).astype(int)
    others = [
        partition(nodes, prefs.user, HOLD_OUT, least=least, seed=0) for least in ((1, 1), (20, 5))
    ]
    for part in (at_random, *others):
        kept.append((within(nodes, prefs.user, part, 2) >= (20, 5)).all(axis=1).mean())
    assert 3 * kept[0] < kept[1] <= kept[2]


def test_topics_that_are_never_compared_stay_whole():
    prefs = workers(users=60, pairs=6000, texts=320, topics_each=12)
    nodes = nodes_of(prefs)
    part, topic = partition(nodes, prefs.user, np.full(4, 0.25), seed=0), connected(nodes)
    assert topic.max() == 15
    cut = np.mean(part[nodes[:, 0]] != part[nodes[:, 1]])
    assert cut < 0.1  # at random 75 %


def test_connected_numbers_components_by_their_first_nodes():
    assert connected(np.array([[3, 1], [0, 2], [4, 2]])).tolist() == [0, 1, 0, 1, 0]
    assert connected(np.array([[1], [0]])).tolist() == [0, 1]
