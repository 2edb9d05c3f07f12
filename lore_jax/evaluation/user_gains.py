"""Who gains and who loses: each user's accuracy with the user's own shots and without."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lore_jax.evaluation.results import Where, per_user, select, users_of
from lore_jax.evaluation.schema import Results


class UserGain(NamedTuple):
    """One user's accuracy, averaged over the splits in which the user is tested, shares of 1.

    Attributes:
        name: the user's name, or "user 3".
        before: with the population, that is the same method without shots.
        after: with the user's own shots.
    """

    name: str
    before: float
    after: float

    @property
    def gain(self) -> float:
        """What the user's own shots add."""
        return self.after - self.before


def user_gains(results: Results, where: Where) -> list[UserGain]:
    """The gain of every user tested, the largest loss first.

    Args:
        results: from `make_results` or `read_results`.
        where: users, items, method and shots; `control` is set here.

    Returns:
        One entry a user of each data set; users without test pairs are left out.

    Raises:
        ValueError: a split has rows after shots and none without, or the other way round.

    Example:
        >>> where = Where("unseen", "new items", "gaussian", shots=20)
        >>> user_gains(results, where)[0]  # doctest: +SKIP
        UserGain(name='ann', before=0.7, after=0.6)
    """
    own = where.also(Where(control=None))
    after, before = select(results, own), select(results, own.also(Where(shots=0)))
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row, base in zip(after, before, strict=True):
        pairs = zip(per_user(base, "accuracy"), per_user(row, "accuracy"), strict=True)
        for user, values in zip(users_of(results, row).tolist(), pairs, strict=True):
            if not np.isnan(values[1]):
                found.setdefault((row["data"], user_name(user)), []).append(values)
    means = {key: np.mean(values, axis=0).tolist() for key, values in found.items()}
    gains = [UserGain(name, *values) for (_, name), values in means.items()]
    return sorted(gains, key=lambda user: (user.gain, user.name))


def user_name(user: object) -> str:
    """What a user is called: the name, or "user 3" for the number 3.

    Example:
        >>> user_name("ann"), user_name(3)
        ('ann', 'user 3')
    """
    return user if isinstance(user, str) else f"user {user}"
