"""Answers laid out for a joint fit: users of like length side by side, dealt to shards.

As `parallel/buckets.py` does with pairs: a user's modes live beside the user's answers, so nothing
that grows with either moves between shards.
"""

from __future__ import annotations

import numpy as np

from lore_jax.data.feedback import Feedback
from lore_jax.methods.gaussian.feedback_em import AnswerBucket
from lore_jax.model.answer_model import num_entries
from lore_jax.parallel.buckets import UserLayout, deal_users
from lore_jax.users.entries import buckets_of_users, lay_out_entries, most_answers

_PADDING = 0.25  # of a bucket's slots: how much padding one bucket fewer is worth


def lay_out_answers(
    feedback: Feedback, shards: int = 1
) -> tuple[tuple[AnswerBucket, ...], UserLayout]:
    """Deals the users who gave answers, and the entries of their answers, to shards.

    Args:
        feedback: the answers to fit.
        shards: how many parts, usually the number of devices.

    Returns:
        Few buckets (NumPy arrays, longest users first) and the layout that leads back to users.

    Example:
        >>> buckets, layout = lay_out_answers(feedback, shards=8)
        >>> buckets[0].chosen.shape[0], layout.ids[0].shape  # [shards, users]
        (8, (8, 5))
    """
    groups: list[np.ndarray] = []
    for users in buckets_of_users(feedback):
        if groups and _slots(feedback, np.concatenate([groups[-1], users])) <= (1 + _PADDING) * (
            _slots(feedback, groups[-1]) + _slots(feedback, users)
        ):
            groups[-1] = np.concatenate([groups[-1], users])
        else:
            groups.append(users)
    length = np.zeros(feedback.num_users, np.int64)
    for block in feedback.blocks:
        length += num_entries(block.kind) * np.bincount(block.user, minlength=len(length))
    ids = [deal_users(users, length[users], shards, -(-len(users) // shards)) for users in groups]
    buckets = tuple(_bucket(feedback, dealt) for dealt in ids)
    return buckets, UserLayout(feedback.num_users, tuple(ids))


def _bucket(feedback: Feedback, ids: np.ndarray) -> AnswerBucket:
    """The entries of users `[shards, users]`; nobody (-1) has none."""
    shards, users = ids.shape
    counts = [most_answers(block, ids.ravel()) for block in feedback.blocks]
    entries = lay_out_entries(feedback, ids.ravel(), counts)

    def dealt(rows: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.asarray(rows).reshape(-1, shards, users), 1, 0)

    first, second = dealt(entries.first), dealt(entries.second)
    outcome = tuple(map(dealt, entries.outcome))
    return AnswerBucket(first, second, dealt(entries.weight), outcome, entries.kinds)


def _slots(feedback: Feedback, users: np.ndarray) -> int:
    """Entries of these users in one bucket, padding included."""
    each = (num_entries(b.kind) * most_answers(b, users) for b in feedback.blocks)
    return len(users) * sum(each)
