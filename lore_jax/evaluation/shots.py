"""What users are known by in a test: strict pairs, or answers of every kind; drawn and counted."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from jaxtyping import Int

from lore_jax.data.feedback import Feedback
from lore_jax.data.feedback_splits import draw_answers
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import draw_shots

Shots: TypeAlias = Preferences | Feedback


def draw(shots: Shots, count: int, *, seed: int) -> Shots:
    """At most `count` random pairs, or answers, of each user; draws of one seed are nested.

    Example:
        >>> draw(feedback, 3, seed=0).num_answers
        120
    """
    if isinstance(shots, Feedback):
        return draw_answers(shots, count, seed=seed)[0]
    return draw_shots(shots, count, seed=seed)


def count_per_user(shots: Shots) -> Int[np.ndarray, "users"]:
    """How many pairs, or answers, each user gave.

    Example:
        >>> int(count_per_user(feedback).sum()) == feedback.num_answers
        True
    """
    return shots.answers_per_user() if isinstance(shots, Feedback) else shots.pairs_per_user()


def asked_about(shots: Shots) -> Preferences:
    """What users were asked about, as pairs; of answers, each response stands with itself.

    Example:
        >>> asked_about(feedback).num_users
        40
    """
    if not isinstance(shots, Feedback):
        return shots
    blocks = shots.blocks
    none = np.zeros(0, np.int32)
    items = np.concatenate([none, *(block.items.ravel() for block in blocks)])
    user = np.concatenate([none, *(np.repeat(b.user, b.kind.num_items) for b in blocks)])
    prompt = np.concatenate([none, *(np.repeat(b.prompt, b.kind.num_items) for b in blocks)])
    order = np.argsort(user, kind="stable")
    return Preferences(
        embeddings=shots.embeddings,
        chosen=items[order],
        rejected=items[order],
        user=user[order],
        prompt=prompt[order],
        pair_weight=np.ones(len(user), np.float32),
        num_users=shots.num_users,
        user_ids=shots.user_ids,
        row=order.astype(np.int64),
        head=None,
    )
