"""Controls: the same evaluation without what makes users different; gains must vanish.

- Mismatched user: each user's test pairs are scored with what was learned of another user.
- Permutation: the whole pipeline, fit included, on pairs whose user labels are permuted at random.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from lore_jax.data.preferences import Preferences


def derangement(count: int, *, seed: int) -> Int[np.ndarray, " users"]:
    """A random permutation without a fixed point.

    A cycle in random order (Sattolo): each user meets every other one equally often.

    Args:
        count: the number of users, at least 2.
        seed: seed of the draw.

    Returns:
        Ids; none equals its index.

    Raises:
        ValueError: fewer than 2 users.

    Example:
        >>> derangement(2, seed=0)
        array([1, 0])
    """
    if count < 2:
        raise ValueError(
            f"{count} users cannot be permuted without a fixed point: at least 2 are expected"
        )
    cycle = np.random.default_rng(seed).permutation(count)
    out = np.empty(count, np.int64)
    out[cycle] = np.roll(cycle, 1)
    return out


def permute_users(prefs: Preferences, *, seed: int) -> Preferences:
    """Permutes the user labels of the pairs: every user keeps the number of pairs.

    Args:
        prefs: training pairs, shots or test pairs, each by themselves: new items then stay new.
        seed: seed of the draw.

    Returns:
        The same pairs under permuted labels.

    Example:
        >>> (permute_users(prefs, seed=0).pairs_per_user() == prefs.pairs_per_user()).all()
        np.True_
    """
    return prefs.with_users(np.random.default_rng(seed).permutation(prefs.user))
