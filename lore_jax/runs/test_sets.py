"""What a run can be tested on: the pairs it kept, or other pairs of its users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt64

from lore_jax.data.feedback import Feedback
from lore_jax.data.feedback_splits import strict_pairs
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import Users
from lore_jax.evaluation.answer_rows import AnswerCondition
from lore_jax.evaluation.evaluate import Condition, ConditionByAnswers
from lore_jax.model.model import response_keys
from lore_jax.model.posterior import Posterior
from lore_jax.runs.folder import AnswerParts, Parts

NOTHING_KEPT = (
    "every pair of the run's cache was fitted: there is nothing to test on; give --test a cache"
)


class OtherConditions(NamedTuple):
    """Conditions of a cache that the run was not made of.

    Attributes:
        conditions: known users on known and on new responses, as far as there are such pairs.
        users: the posterior of the users tested, in the order of the conditions' users.
        names: their names.
        pairs_of_unknown_users: pairs of users who were not fitted, left out; `adapt` takes these.
    """

    conditions: list[Condition]
    users: Posterior
    names: Shaped[np.ndarray, " users"]
    pairs_of_unknown_users: int


def run_conditions(parts: Parts) -> list[Condition]:
    """The conditions of the split a run keeps.

    Raises:
        ValueError: the run has fitted everything.

    Example:
        >>> conditions = run_conditions(read_run("run").load_parts())  # doctest: +SKIP
    """
    if not parts.tests or parts.shots is None:
        raise ValueError(NOTHING_KEPT)
    shots: dict[Users, Preferences] = {"seen": parts.train, "unseen": parts.shots}
    return [
        Condition(users, items, shots[users], test) for (users, items), test in parts.tests.items()
    ]


def answer_conditions(parts: AnswerParts) -> list[AnswerCondition]:
    """The same conditions, of answers as they were said; raises as `run_conditions`.

    Example:
        >>> parts = read_run("run").load_answer_parts()  # doctest: +SKIP
        >>> conditions = answer_conditions(parts)  # doctest: +SKIP
    """
    if not parts.tests or parts.shots is None:
        raise ValueError(NOTHING_KEPT)
    shots: dict[Users, Feedback] = {"seen": parts.train, "unseen": parts.shots}
    return [
        AnswerCondition(users, items, shots[users], test)
        for (users, items), test in parts.tests.items()
    ]


def by_strict_pairs(conditions: Sequence[AnswerCondition]) -> list[ConditionByAnswers]:
    """Conditions in which users are known by their answers, and tested on the pairs they make.

    Example:
        >>> condition = AnswerCondition("seen", "new items", feedback, feedback)
        >>> by_strict_pairs([condition])[0].test.num_users == feedback.num_users
        True
    """
    return [
        ConditionByAnswers(users, items, shots, strict_pairs(test))
        for users, items, shots, test in conditions
    ]


def conditions_of_other_pairs(
    train: Preferences, users: Posterior, test: Preferences, source: Path
) -> OtherConditions:
    """Makes conditions of a cache that was not cut from the run's.

    Users are recognised by their names, responses by their embeddings.

    Args:
        train: the pairs that were fitted.
        users: the posterior of their users.
        test: the pairs to test on.
        source: where they are from, for messages.

    Returns:
        The `OtherConditions`.

    Raises:
        ValueError: a pair was fitted; users have no names; or no user of the run is among them.
    """
    if train.user_ids is None or test.user_ids is None:
        raise ValueError(f"{source}: users are recognised by their names, and have none")
    index = {name: user for user, name in enumerate(train.user_ids)}
    known_users = np.flatnonzero([name in index for name in test.user_ids])
    if not len(known_users):
        raise ValueError(
            f"{source} has no pairs of the run's {train.num_users} users: they are told by their "
            "names"
        )
    train_keys, test_keys = _keys(train), _keys(test)
    fitted_pairs = set(_named_pairs(train, train_keys))
    again = [pair in fitted_pairs for pair in _named_pairs(test, test_keys)]
    if any(again):
        raise ValueError(
            f"{source} holds {sum(again)} of {test.num_pairs} pairs that the run was fitted on, "
            f"the first in row {test.row[again].min()}: a test must not know them"
        )
    fitted_users = np.array([index[name] for name in test.user_ids[known_users]])
    shots, known = train.take_users(fitted_users), test.take_users(known_users)
    fitted = np.isin(test_keys, train_keys[np.concatenate([train.chosen, train.rejected])])
    are_known = fitted[known.chosen] & fitted[known.rejected]
    conditions = []
    if are_known.any():
        conditions.append(Condition("seen", "known items", shots, known.take_pairs(are_known)))
    if not are_known.all():
        conditions.append(Condition("seen", "new items", shots, known.take_pairs(~are_known)))
    dropped, names = test.num_pairs - known.num_pairs, test.user_ids[known_users]
    return OtherConditions(conditions, users.take(fitted_users), names, dropped)


def _named_pairs(
    prefs: Preferences, keys: UInt64[np.ndarray, " responses"]
) -> list[tuple[str, frozenset[int]]]:
    """Each pair as its user's name and the keys of both responses, whichever was chosen."""
    names = np.asarray(prefs.user_ids)[prefs.user].tolist()
    sides = zip(keys[prefs.chosen].tolist(), keys[prefs.rejected].tolist(), strict=True)
    return [(name, frozenset(side)) for name, side in zip(names, sides, strict=True)]


def _keys(prefs: Preferences) -> UInt64[np.ndarray, " responses"]:
    """A 64-bit key of each response."""
    return np.ascontiguousarray(response_keys(prefs.embeddings)).view(np.uint64)[:, 0]
