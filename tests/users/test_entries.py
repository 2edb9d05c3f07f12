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
