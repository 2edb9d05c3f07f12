"""What a model cannot embed unchanged is left out with the pairs that have it, and counted."""

import json

import numpy as np
import pytest

from lore_jax.datasets.formats.feedback import HowToRead, read_text_feedback
from lore_jax.datasets.formats.records import BadRows
from lore_jax.embed.left_out import embeddable
from lore_jax.embed.pairs import conversations_of

LONG = "word " * 120  # 600 tokens, of 512 that the model reads


def read(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_text_feedback(path, HowToRead(BadRows(skip=True), 0, 60))


def row(user, prompt, chosen, rejected):
    return {
        "user_id": user,
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "topic": user,
    }


def test_pairs_of_what_is_too_long_are_left_out(tmp_path, reward):
    rows = [
        row("ann", "Tea?", "Yes.", LONG),
        row("ann", "Tea?", "Yes.", "No."),
        row("bob", "Milk?", "<|end|>", "No."),
        row("bob", "Milk?", "A little.", "No."),
    ]
    pairs, bad = read(tmp_path, rows), BadRows(skip=True)
    left = embeddable(pairs, reward.renderer, bad)
    assert bad.count == 2
    assert "pair 0, rejected: the reply has 600 tokens" in bad.first[0]
    assert "pair 2, chosen: reply holds the special token" in bad.first[1]
    both = zip(left.chosen, left.rejected, strict=True)
    texts = [(left.responses[c].reply, left.responses[r].reply) for c, r in both]
    assert texts == [("Yes.", "No."), ("A little.", "No.")]
    assert left.user_ids == ["ann", "bob"]
    assert left.user.tolist() == [0, 1]
    assert [more["topic"] for more in left.extra] == ["ann", "bob"]
    assert not {LONG, "<|end|>"} & {each.reply for each in conversations_of(left)}
    assert left.preferences(np.zeros((len(left.responses), 2), np.float32)).num_pairs == 2


def test_answers_that_name_it_go_too(tmp_path, reward):
    rows = [
        {"user_id": "ann", "prompt": "Tea?", "responses": ["Yes.", "No.", LONG], "choice": 0},
        {"user_id": "ann", "prompt": "Tea?", "responses": ["Yes.", "No.", "Later."], "choice": 2},
    ]
    left = embeddable(read(tmp_path, rows), reward.renderer, BadRows(skip=True))
    (block,) = left.answers
    assert len(block) == 1
    assert left.responses[block.items[0, 0]].reply == "Later."


def test_otherwise_nothing_changes_and_nothing_left_is_refused(tmp_path, reward):
    pairs = read(tmp_path, [row("ann", "Tea?", "Yes.", LONG)])
    assert embeddable(pairs, reward.renderer, BadRows(skip=False)) is pairs
    with pytest.raises(ValueError, match="no pair can be embedded, the first because of pair 0"):
        embeddable(pairs, reward.renderer, BadRows(skip=True))
    good = read(tmp_path, [row("ann", "Tea?", "Yes.", "No.")])
    assert embeddable(good, reward.renderer, BadRows(skip=True)) is good
