"""Where users' pairs stand, as rectangles: what predictors without a basis gather shots by."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from lore_jax.data.preferences import Preferences
from lore_jax.methods.rivals.draws import Pairs
from lore_jax.parallel.rounding import rounded

_LEAST = 32  # fewer slots cost as much; few lengths share few programs, which take seconds


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


def padded_pairs(
    prefs: Preferences, users: Int[np.ndarray, " users"], slots: int
) -> tuple[Pairs, Int[np.ndarray, "users slots"]]:
    """Pairs of some users as rectangles, padded with pairs of weight 0; and `pair_slots`.

    Example:
        >>> own = from_arrays(np.eye(3, dtype=np.float32), [0, 1, 2], [1, 2, 0], [0, 0, 1])
        >>> padded_pairs(own, np.array([1, 0]), 2)[0].chosen.tolist()
        [[2, 0], [0, 1]]
    """
    index = pair_slots(prefs, users, slots)
    # A last pair that is nobody's, for the padding.
    chosen, rejected = (
        np.append(side, np.int32(0))[index] for side in (prefs.chosen, prefs.rejected)
    )
    return Pairs(chosen, rejected, np.append(prefs.pair_weight, np.float32(0.0))[index]), index


def rounded_slots(prefs: Preferences, users: Int[np.ndarray, " users"]) -> int:
    """How many slots some users need, 32 or more: a power of two.

    Example:
        >>> rounded_slots(prefs, np.arange(prefs.num_users))
        32
    """
    most = int(prefs.pairs_per_user()[users[users >= 0]].max(initial=0))
    return rounded(max(_LEAST, most), 1)
