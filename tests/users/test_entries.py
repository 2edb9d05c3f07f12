"""Answers laid out by entries: every answer once, ratings against the row of zeros."""

import numpy as np
from small_objects import small_objects

from lore_jax.model.answer_model import begin_answers, num_entries
from lore_jax.users.entries import buckets_of_users, lay_out_entries, most_answers


def test_every_entry_of_every_answer_stands_once():
    feedback = small_objects()["feedback"].take_users(np.arange(7))
    keep = [np.random.default_rng(0).random(len(block)) < 0.6 for block in feedback.blocks]
    feedback, found = feedback.take(keep), {}
    for users in buckets_of_users(feedback):
        counts = [most_answers(block, users) for block in feedback.blocks]
        entries = lay_out_entries(feedback, users, counts)
        assert sum(entries.likelihood(begin_answers(feedback)).sizes) == len(entries.first)
        for column, user in enumerate(users):
            own = entries.weight[:, column] > 0
            found[user] = sorted(
                zip(entries.first[own, column], entries.second[own, column], strict=True)
            )
    for user in range(7):
        expected = []
        for block in feedback.blocks:
            for items in block.items[block.user == user].tolist():
                if block.kind.name == "rating":
                    expected.append((items[0], feedback.num_responses))
                else:
                    expected += [(a, b) for i, a in enumerate(items) for b in items[i + 1 :]]
                assert len(items) * (len(items) - 1) // 2 <= num_entries(block.kind)
        assert found.get(user, []) == sorted(expected)


def test_neighbours_are_entries_of_rankings_alone():
    feedback = small_objects()["feedback"]
    users = np.arange(feedback.num_users)
    counts = [most_answers(block, users) for block in feedback.blocks]
    entries = lay_out_entries(feedback, users, counts, neighbours=True)
    likelihood = entries.likelihood(begin_answers(feedback))
    assert sum(likelihood.sizes) == len(entries.first)
    start = 0
    for block, size, count in zip(feedback.blocks, likelihood.sizes, counts, strict=True):
        each, k = size // count, block.kind.num_items
        assert each == (1 if block.kind.levels else k - 1)
        if not block.kind.levels:
            own = block.items[block.user == 0][0]
            np.testing.assert_array_equal(entries.first[start : start + each, 0], own[:-1])
            np.testing.assert_array_equal(entries.second[start : start + each, 0], own[1:])
        start += size
