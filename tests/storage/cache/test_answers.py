"""Answers in a cache come back as they were; a cache of pairs alone gives its pairs."""

import numpy as np
from small_cache import PAIRS, TABLE, write
from small_objects import small_objects

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import from_answers, rankings
from lore_jax.data.feedback_splits import strict_pairs
from lore_jax.storage.cache.answers import answer_tensors, load_feedback
from lore_jax.storage.cache.reader import load_cache


def test_they_come_back(tmp_path):
    feedback = small_objects()["feedback"]
    rows = from_answers(
        TABLE, rankings([[0, 1, 2], [5, 4, 3], [7, 8]], [2, 0, 1], weight=[1, 2, 3])
    )
    blocks = [*rows.blocks, *(b.take(b.items.max(axis=1) < len(TABLE)) for b in feedback.blocks)]
    blocks = [block.take(block.user < 3) for block in blocks]
    given = from_answers(TABLE, blocks, num_users=3)
    finish = {"user_ids": ["ann", "bob", "eve"], "answers": answer_tensors(given.blocks)}
    found = load_feedback(write(tmp_path / "cache", dtype="float32", finish=finish))
    assert found.user_ids.tolist() == ["ann", "bob", "eve"]
    assert found.encoder == load_cache(tmp_path / "cache").encoder == strict_pairs(found).encoder
    assert found.encoder is not None
    assert repr(found) == repr(given)
    for one, other in zip(found.blocks, given.blocks, strict=True):
        assert one.kind == other.kind
        for name in ("items", "outcome", "user", "prompt", "weight"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_pairs_alone_are_answers_too(tmp_path):
    found = load_feedback(write(tmp_path / "cache"))
    (block,) = found.blocks
    assert block.kind == Kind("pair", 2, levels=2)
    expected = sorted(zip(PAIRS["chosen"], PAIRS["rejected"], PAIRS["user"], strict=True))
    rows = zip(*block.items.T.tolist(), block.user.tolist(), strict=True)
    assert sorted(rows) == expected
