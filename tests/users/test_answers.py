"""The store of answers against lists."""

import numpy as np
import pytest

from lore_jax.users.answers import FIRST_SLOTS, AnswerStore, NewAnswers, added, check_answers


def test_a_store_against_lists():
    rng, users, lists = np.random.default_rng(0), 4, [[] for _ in range(4)]
    store = AnswerStore(users)
    for round_ in range(30):
        who = rng.integers(users if round_ % 2 else 1, size=5)
        rows = rng.integers(100, size=(2, 5)).astype(np.int32)
        for user, chosen, rejected in zip(who, *rows, strict=True):
            lists[user].append((chosen, rejected))
        store.put(*added(store, NewAnswers(who, *rows, None), 200))
    assert max(map(len, lists)) > 2 * FIRST_SLOTS
    kept = store.take(np.arange(users))
    assert kept.count.tolist() == list(map(len, lists))
    for user, own in enumerate(lists):
        stored = np.stack([kept.chosen, kept.rejected], axis=2)[user, : len(own)]
        assert stored.tolist() == [list(pair) for pair in own]
        np.testing.assert_array_equal(kept.time[user, : len(own)], np.arange(len(own)))
    store.put(np.array([2]), store.take(np.array([2])).dropped(3))
    assert store.count[2] == len(lists[2]) - 3
    store.put(np.array([2]), store.take(np.array([2])).dropped(None))
    assert store.count[2] == 0


def test_added_leaves_the_store_alone():
    store = AnswerStore(2)
    one = NewAnswers(np.array([1]), np.array([3]), np.array([4]), np.array([2.0]))
    users, together = added(store, one, 5)
    assert users.tolist() == [1]
    assert together.chosen[0, 0] == 3
    assert not store.count.any()
    store.put(users, together)
    with pytest.raises(ValueError, match="dated 1, before the user's last one"):
        added(store, one._replace(time=np.array([1.0])), 5)
    with pytest.raises(ValueError, match="2 answers: at most 1, the session's capacity"):
        added(store, one, 1)


@pytest.mark.parametrize(
    ("chosen", "rejected", "message"),
    [(0, 9, "rejected holds 9, outside a table of 9"), (2, 2, r"\(response 2\)")],
)
def test_bad_rows_are_refused(chosen, rejected, message):
    with pytest.raises(ValueError, match=message):
        check_answers(np.array([0]), chosen, rejected, None, 9)
