"""Answers in buckets: everybody and every answer in one place, whatever the number of shards."""

import numpy as np
import pytest
from small_answers import small_answers

from lore_jax.data.feedback import Feedback
from lore_jax.fitting.answer_buckets import lay_out_answers
from lore_jax.model.answer_model import num_entries


def ragged() -> Feedback:
    """The small answers: users of very different lengths, one of them silent."""
    feedback, rng = small_answers(), np.random.default_rng(0)
    most = rng.integers(1, 9, feedback.num_users)
    most[3] = 0
    masks = [
        np.arange(len(block)) - np.searchsorted(block.user, block.user) < most[block.user]
        for block in feedback.blocks
    ]
    return feedback.take(masks)


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_every_answer_stands_beside_its_user(shards):
    feedback = ragged()
    buckets, layout = lay_out_answers(feedback, shards)
    ids = np.concatenate([ids.ravel() for ids in layout.ids])
    said = np.flatnonzero(feedback.answers_per_user())
    assert sorted(ids[ids >= 0].tolist()) == said.tolist()
    expected = set()
    for block in feedback.blocks:
        for user, items, level in zip(block.user, block.items, block.outcome, strict=True):
            second = items[1] if len(items) > 1 else feedback.num_responses
            expected.add((user, items[0], second, level, str(block.kind)))
    found = set()
    for bucket, own in zip(buckets, layout.ids, strict=True):
        assert bucket.chosen.shape[0] == shards
        at = 0
        for kind, outcome in zip(bucket.kinds, bucket.outcome, strict=True):
            size = num_entries(kind)
            for shard, answer, user in np.ndindex(outcome.shape):
                entry = at + size * answer  # the first of an answer is of its first two responses
                if not bucket.pair_weight[shard, entry, user]:
                    continue
                rows = bucket.chosen[shard, entry, user], bucket.rejected[shard, entry, user]
                found.add((own[shard, user], *rows, outcome[shard, answer, user], str(kind)))
            at += size * outcome.shape[1]
        assert at == bucket.chosen.shape[1]
    assert found == expected
