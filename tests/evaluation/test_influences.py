"""Influences against loops over pairs, and their sketches against exact sums of squares."""

import numpy as np
import pytest
from synthetic_results import USERS, preferences

from lore_jax.data.preferences import from_arrays
from lore_jax.evaluation.influences import CELL_BUCKETS, ITEM_BUCKETS, buckets_of, pair_influences


def by_loop(prefs, values):
    """`(v_i - mean) / (U n_u)` of each pair."""
    tested = sorted(set(prefs.user.tolist()))
    mean = np.mean([values[prefs.user == user].mean() for user in tested])
    out = []
    for user, value in zip(prefs.user, values, strict=True):
        out.append((value - mean) / (len(tested) * (prefs.user == user).sum()))
    return np.array(out)


@pytest.mark.parametrize("group_by", ["prompt", "response"])
def test_influences_against_a_loop(group_by):
    prefs = preferences(1)
    values = np.random.default_rng(0).normal(size=prefs.num_pairs)
    influence = pair_influences(values, prefs.user, prefs.num_users)
    np.testing.assert_allclose(influence, by_loop(prefs, values), atol=1e-15)
    items, cells = buckets_of(prefs, group_by)
    # Few items: each has a bucket of its own, its number; the sign is the item's.
    touched = {}
    for pair in range(prefs.num_pairs):
        sides = [prefs.prompt] if group_by == "prompt" else [prefs.chosen, prefs.rejected]
        for side in sides:
            touched[int(side[pair])] = touched.get(int(side[pair]), 0.0) + influence[pair]
    assert items.bucket.tolist() == sorted(touched)
    found = items.add(influence)
    np.testing.assert_allclose(np.abs(found), [abs(touched[i]) for i in sorted(touched)])
    assert len(cells.bucket) <= CELL_BUCKETS


def many(users, each, items, seed=0, ids=None):
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), each)
    prompt = rng.integers(items, size=len(user))
    zeros = np.zeros_like(user)
    table = np.zeros((2, 1), np.float32)
    return from_arrays(table, zeros, zeros + 1, user, prompt=prompt, user_ids=ids)


def test_sketches_keep_sums_of_squares():
    test = many(200, 30, 5000)
    rng = np.random.default_rng(1)
    effect = rng.normal(size=5000)
    found = {"items": [], "cells": []}
    for _ in range(20):
        values = effect[test.prompt] * rng.normal() + rng.normal(size=test.num_pairs)
        influence = pair_influences(values, test.user, test.num_users)
        exact = {
            "items": np.bincount(test.prompt, influence),
            "cells": np.bincount(test.user.astype(int) * 5000 + test.prompt, influence),
        }
        for name, part in zip(exact, buckets_of(test, "prompt"), strict=True):
            sketch = part.add(influence)
            found[name].append(float(sketch @ sketch) / float(exact[name] @ exact[name]))
    assert len(buckets_of(test, "prompt")[0].bucket) <= ITEM_BUCKETS
    # The error of one sketch: sqrt(2 / buckets), 4 and 12 %; three times that.
    np.testing.assert_allclose(found["items"], 1.0, atol=0.13)
    np.testing.assert_allclose(found["cells"], 1.0, atol=0.37)
    np.testing.assert_allclose(np.mean(found["cells"]), 1.0, atol=0.08)


def test_a_cell_has_the_same_bucket_in_every_split_where_users_have_names():
    names = np.array([f"u{i}" for i in range(6)])
    test = many(6, 5, 40, ids=names)
    turned = test.take_users(np.array([3, 4, 5, 0, 1, 2]))
    value = {}
    for split, prefs in enumerate((test, turned)):
        _, cells = buckets_of(prefs, "prompt", split=split)
        named = np.asarray(prefs.user_ids)[prefs.user]
        for pair in range(prefs.num_pairs):
            key = named[pair], int(prefs.prompt[pair])
            where = cells.bucket[cells.index[pair, 0]], cells.sign[pair, 0]
            assert value.setdefault(key, where) == where
    # Without names, users of two splits are different users.
    nameless = many(6, 5, 40)
    first, second = (buckets_of(nameless, "prompt", split=split)[1] for split in (0, 1))
    assert first.bucket.tolist() != second.bucket.tolist()


def test_a_test_without_pairs_has_no_buckets():
    empty = preferences(0).take_pairs(np.zeros(0, int))
    items, cells = buckets_of(empty, "prompt")
    assert len(items.bucket) == len(cells.bucket) == 0
    assert items.add(np.zeros(0)).shape == (0,)
    assert pair_influences(np.zeros(0), empty.user, USERS).shape == (0,)
