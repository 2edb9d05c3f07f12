"""Candidate questions: pairs of rows of a table, made from prompts, and checked at the door."""

from __future__ import annotations

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Int

from lore_jax.data.preferences import Preferences
from lore_jax.model.model import Model
from lore_jax.users.criteria import CRITERIA

_MOST_GENERATED = 1000


def candidate_pairs(
    prefs: Preferences, *, most: int = _MOST_GENERATED, seed: int = 0
) -> Int[np.ndarray, "c 2"]:
    """Pairs of responses that answer one prompt, each once: what may be asked.

    Args:
        prefs: comparisons; a response answers the prompts in whose pairs it stands.
        most: if there are more pairs, that many of them are drawn.
        seed: of the draw.

    Returns:
        Rows of the table, int32 `[c, 2]`.

    Example:
        >>> candidate_pairs(prefs, most=10).shape
        (10, 2)
    """
    prompt = np.concatenate([prefs.prompt, prefs.prompt]).astype(np.int64)
    rows = np.concatenate([prefs.chosen, prefs.rejected])
    stands = np.unique(prompt * prefs.num_responses + rows)
    prompts, rows = np.divmod(stands, prefs.num_responses)
    pairs = [
        group[np.stack(np.triu_indices(len(group), 1), axis=1)]
        for group in np.split(rows, np.flatnonzero(np.diff(prompts)) + 1)
    ]
    distinct = np.unique(np.concatenate(pairs), axis=0).astype(np.int32)
    if len(distinct) <= most:
        return distinct
    kept = np.random.default_rng(seed).choice(len(distinct), most, replace=False)
    return distinct[np.sort(kept)]


def check_pairs(
    name: str, pairs: ArrayLike, users: int, responses: int
) -> Int[np.ndarray, "*users c 2"]:
    """Rows of a table, `[c, 2]` or `[users, c, 2]`, if they are such; -1 is padding.

    Raises:
        ValueError: they are not.
    """
    array = np.asarray(pairs)
    if array.ndim not in (2, 3) or array.shape[-1] != 2:
        got = f"{name} has shape {array.shape}"
        raise ValueError(f"{got}: pairs of rows, [c, 2] or [users, c, 2], are expected")
    if array.size == 0:
        raise ValueError(f"{name} is empty: at least one pair of rows is expected")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} has dtype {array.dtype}: integers, rows of the table, expected")
    if array.ndim == 3 and len(array) != users:
        raise ValueError(f"{name} is for {len(array)} users, the posterior has {users}")
    least = 0 if array.ndim == 2 else -1
    if array.min() < least or array.max() >= responses:
        bad = array[(array < least) | (array >= responses)][0]
        raise ValueError(f"{name} holds {bad}, outside a table of {responses} responses")
    return array.astype(np.int32)


def check_rows(
    name: str, rows: ArrayLike, limit: int, what: str = "a table of {} responses"
) -> Int[np.ndarray, " t"]:
    """Rows of a table, `[t]`, if they are such and there are any.

    Raises:
        ValueError: they are not.
    """
    array = np.asarray(rows)
    if array.ndim != 1 or not array.size or not np.issubdtype(array.dtype, np.integer):
        got = f"{name} has dtype {array.dtype} and shape {array.shape}"
        raise ValueError(f"{got}: rows of the table, at least one, are expected")
    bad = (array < 0) | (array >= limit)
    if bad.any():
        raise ValueError(f"{name} holds {array[bad][0]}, outside {what.format(limit)}")
    return array


def check_question(
    model: Model, pairs: np.ndarray, count: int, criterion: str, key: jax.Array | None
) -> None:
    """Refuses a question that cannot be asked.

    Raises:
        ValueError: there is no such criterion, it lacks what it needs, or there are fewer
            candidates than `count`.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"criterion is {criterion!r}: one of {', '.join(CRITERIA)} is expected")
    if not 1 <= count <= pairs.shape[-2]:
        most = pairs.shape[-2]
        raise ValueError(f"count is {count}: 1 to {most}, the number of candidates, is expected")
    if criterion == "random" and key is None:
        raise ValueError("criterion is 'random', but key is None: a jax.random.key is expected")
    if criterion != "random" and not np.any(np.asarray(model.prior.covariance)):
        raise ValueError(
            f"the model's users have no spread ({type(model.prior).__name__}): "
            "no answer is worth more than another; only criterion='random' can ask them"
        )


def check_asked(asked: ArrayLike | None, users: int, c: int) -> Bool[np.ndarray, "*users c"] | None:
    """Which candidates were asked already, bool `[c]` or `[users, c]`, if they are such.

    Raises:
        ValueError: they are not.
    """
    if asked is None:
        return None
    mask = np.asarray(asked)
    if mask.dtype != bool or mask.shape not in ((c,), (users, c)):
        got = f"asked has dtype {mask.dtype} and shape {mask.shape}"
        raise ValueError(f"{got}: bool [{c}] or [{users}, {c}] is expected")
    return mask


class AnsweredPairs:
    """Which candidates users have answered; a pair is the same in either order.

    Args:
        candidates: rows of the table, `[c, 2]`, the same for everybody, or `[users, c, 2]`; -1 is
            padding.
        responses: the number of rows of the table.

    Example:
        >>> known = AnsweredPairs(np.array([[0, 1], [2, 1]]), responses=3)
        >>> known.mask(np.array([7]), place=np.array([0]), answered=np.array([[1, 2]]))
        array([[False,  True]])
    """

    def __init__(self, candidates: Int[np.ndarray, "*users c 2"], responses: int) -> None:
        self._responses, self._keys = responses, None
        keys = self._keys_of(candidates)
        if keys.ndim == 2:
            self._keys = keys
        else:
            self._distinct, self._which = np.unique(keys, return_inverse=True)

    def _keys_of(self, pairs: Int[np.ndarray, "*n 2"]) -> Int[np.ndarray, "*n"]:
        return pairs.min(-1).astype(np.int64) * self._responses + pairs.max(-1)

    def mask(
        self,
        users: Int[np.ndarray, " users"],
        place: Int[np.ndarray, " n"],
        answered: Int[np.ndarray, "n 2"],
    ) -> Bool[np.ndarray, "users c"]:
        """The candidates among the answers of some users.

        Args:
            users: which users; one may occur twice.
            place: whose of them each answer is, a position in `users`.
            answered: both rows of each answer.

        Returns:
            True for what was answered.
        """
        keys = self._keys_of(answered)
        if self._keys is not None:
            # the user's place in front of the pair: one search for all users
            places = np.arange(len(users))[:, None] * self._responses**2
            own = self._keys[users]
            return np.isin(np.where(own < 0, -1, own + places), keys + places[place, 0])
        at = np.minimum(np.searchsorted(self._distinct, keys), len(self._distinct) - 1)
        hit = self._distinct[at] == keys
        mask = np.zeros((len(users), len(self._distinct)), bool)
        mask[place[hit], at[hit]] = True
        return mask[:, self._which]

    def mask_of(
        self, answers: Preferences, users: Int[np.ndarray, " users"]
    ) -> Bool[np.ndarray, "users c"]:
        """The candidates among these users' answers."""
        first, end = np.searchsorted(answers.user, np.stack([users, users + 1]))
        count = end - first
        place = np.repeat(np.arange(len(users)), count)
        at = np.arange(len(place)) + np.repeat(first - (np.cumsum(count) - count), count)
        return self.mask(users, place, np.stack([answers.chosen[at], answers.rejected[at]], axis=1))
