"""Where users' pairs stand, as rectangles: what predictors without a basis gather shots by."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from lore_jax.data.preferences import Preferences


def pair_slots(
    prefs: Preferences, users: Int[np.ndarray, " users"], slots: int | None = None
) -> Int[np.ndarray, "users slots"]:
    """Numbers of the pairs of some users, in their order; -1 for padding.

    Args:
        prefs: pairs, sorted by user as `Preferences` are.
        users: whose; -1 for nobody, who has none.
        slots: how many for each, at least the most pairs of one; None: as many.

    Example:
        >>> own = from_arrays(np.eye(3, dtype=np.float32), [0, 1, 2], [1, 2, 0], [0, 0, 1])
        >>> pair_slots(own, np.array([1, 0, -1])).tolist()
        [[2, -1], [0, 1], [-1, -1]]
    """
    first, last = np.searchsorted(prefs.user, np.stack([users, users + 1]))
    count = np.where(users >= 0, last - first, 0)
    ahead = np.arange(int(count.max(initial=0)) if slots is None else slots)
    return np.where(ahead < count[:, None], first[:, None] + ahead, -1)
