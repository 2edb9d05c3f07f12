"""Controls: the same evaluation with what makes users different taken away. What still looks
personal then is not.

- Another user's weights: each user's test pairs are scored with what was learned of somebody else.
  Where users do not differ, their own weights and another's are exchangeable, and neither can win.
- Shuffled users: the whole pipeline, fit included, on pairs whose user labels have been dealt out
at random.
"""

from __future__ import annotations

import numpy as np

from lore_jax.data.preferences import Preferences


def derangement(count: int, *, seed: int) -> np.ndarray:
    """A random permutation that leaves nobody in place.

    A cycle through everybody in random order (Sattolo): not every derangement is one, but each user
    meets every other one equally often, which is all a control needs.

    Args:
        count: the number of users, at least 2.
        seed: seed of the draw.

    Returns:
        Ids `[count]`; none equals its place.

    Raises:
        ValueError: fewer than 2 users.

    Example:
        >>> derangement(2, seed=0)
        array([1, 0])
    """
    if count < 2:
        raise ValueError(f"{count} users cannot trade places: at least 2 are expected")
    cycle = np.random.default_rng(seed).permutation(count)
    out = np.empty(count, np.int64)
    out[cycle] = np.roll(cycle, 1)
    return out


def permute_users(prefs: Preferences, *, seed: int) -> Preferences:
    """Deals the pairs out at random: every user keeps the number of pairs, and nobody's pairs are
    their own.

    Shuffle training pairs, shots and test pairs each by themselves: new items then stay new.

    Args:
        prefs: any preferences.
        seed: seed of the draw.

    Returns:
        The same pairs under shuffled labels.

    Example:
        >>> permute_users(prefs, seed=0).pairs_per_user() == prefs.pairs_per_user()
        array([ True,  True])
    """
    return prefs.with_users(np.random.default_rng(seed).permutation(prefs.user))
