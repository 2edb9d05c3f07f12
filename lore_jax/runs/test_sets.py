"""What a run can be tested on: the pairs it kept, or other pairs of its users."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import Holdout, Users
from lore_jax.evaluation.evaluate import Condition
from lore_jax.model.model import response_keys
from lore_jax.model.posterior import Posterior
from lore_jax.runs.folder import Parts


class OtherConditions(NamedTuple):
    """Cells of a cache that the run has not seen.

    Attributes:
        conditions: known users on known and on new responses, as far as there are such pairs.
        users: the posterior of the users tested, in the order of the conditions' users.
        names: their names.
        pairs_of_unknown_users: pairs of users who were not fitted, left out: `adapt` makes users of
            them.
    """

    conditions: list[Condition]
    users: Posterior
    names: np.ndarray
    pairs_of_unknown_users: int


def run_conditions(parts: Parts) -> list[Condition]:
    """The conditions of the split a run keeps.

    Raises:
        ValueError: the run has fitted everything.

    Example:
        >>> conditions = run_conditions(read_run("run").load_parts())
    """
    if not parts.tests or parts.shots is None:
        raise ValueError(
            "every pair of the run's cache was fitted: there is nothing to test on; give --test a cache"
        )
    shots: dict[Users, Preferences] = {"seen": parts.train, "unseen": parts.shots}
    return [
        Condition(users, items, shots[users], test) for (users, items), test in parts.tests.items()
    ]


def conditions_of_other_pairs(
    train: Preferences, users: Posterior, test: Preferences, place: Path
) -> OtherConditions:
    """Makes conditions of a cache that was not cut from the run's.

    Users are recognised by their names, responses by their embeddings.

    Args:
        train: the pairs that were fitted.
        users: the posterior of their users.
        test: the pairs to test on.
        place: where they are from, for messages.

    Returns:
        The `OtherConditions`.

    Raises:
        ValueError: a pair was fitted; users have no names; or no user of the run is among them.
    """
    if train.user_ids is None or test.user_ids is None:
        raise ValueError(f"{place}: users are recognised by their names, and have none")
    of_name = {name: user for user, name in enumerate(train.user_ids)}
    known = np.array([name in of_name for name in test.user_ids])
    ours = np.flatnonzero(known)
    if not len(ours):
        raise ValueError(
            f"{place} has no pairs of the run's {train.num_users} users: they are told by their names"
        )
    fitted = np.array([of_name[name] for name in test.user_ids[ours]])
    _refuse_training_pairs(train, test, of_name, place)
    mine = test.take_users(ours)
    shots = train.take_users(fitted)
    used = np.unique(np.concatenate([train.chosen, train.rejected]))
    seen = np.isin(_keys(test), _keys(train)[used])
    in_fit = seen[mine.chosen] & seen[mine.rejected]
    sides: list[tuple[Holdout, np.ndarray]] = [("known items", in_fit), ("new items", ~in_fit)]
    conditions = [
        Condition("seen", items, shots, mine.take_pairs(part))
        for items, part in sides
        if part.any()
    ]
    return OtherConditions(
        conditions, users.take(fitted), test.user_ids[ours], test.num_pairs - mine.num_pairs
    )


def _refuse_training_pairs(
    train: Preferences, test: Preferences, of_name: dict[str, int], place: Path
) -> None:
    def pairs(prefs: Preferences) -> list[tuple[str, frozenset[int]]]:
        keys = _keys(prefs)
        names = np.asarray(prefs.user_ids)[prefs.user]
        sides = zip(keys[prefs.chosen].tolist(), keys[prefs.rejected].tolist(), strict=True)
        return [(name, frozenset(side)) for name, side in zip(names.tolist(), sides, strict=True)]

    fitted = set(pairs(train))
    twice = [i for i, pair in enumerate(pairs(test)) if pair in fitted]
    if twice:
        raise ValueError(
            f"{place} holds {len(twice)} of {test.num_pairs} pairs that the run was fitted on, the first in row "
            f"{test.row[twice].min()}: a test must not know them"
        )


def _keys(prefs: Preferences) -> np.ndarray:
    """A 64-bit key of each response, `[responses]`."""
    return np.ascontiguousarray(response_keys(prefs.embeddings)).view(np.uint64)[:, 0]
