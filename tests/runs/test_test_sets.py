"""What a run is tested on: pairs it kept, or other pairs of its users, never what it fitted."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lore_jax.data.preferences import from_arrays
from lore_jax.model.posterior import Posterior
from lore_jax.runs.folder import Parts, read_run
from lore_jax.runs.test_sets import conditions_of_other_pairs, run_conditions

RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((9, 4)).astype(np.float32)  # the run has judged responses 0 to 5
SOURCE = Path("other")
TRAIN = from_arrays(
    TABLE[:7], [0, 1, 2, 3], [1, 2, 3, 4], [0, 0, 1, 2], user_ids=["ann", "bob", "eve"]
)
USERS = Posterior(
    np.arange(6, dtype=np.float32).reshape(3, 2),
    np.zeros((3, 2, 2), np.float32),
    *(np.zeros(3, np.int32) for _ in range(4)),
    user_ids=np.array(["ann", "bob", "eve"]),
)


def other_pairs(chosen, rejected, names):
    """Pairs of a cache whose table has another order and new responses."""
    order = np.array([8, 7, 6, 5, 4, 3, 2, 1, 0])
    known, user = np.unique(names, return_inverse=True)
    row = np.argsort(order)
    return from_arrays(TABLE[order], row[chosen], row[rejected], user, user_ids=list(known))


def test_the_conditions_of_a_run(unbroken):
    parts = read_run(unbroken).load_parts()
    conditions = run_conditions(parts)
    assert [(one.users, one.items) for one in conditions] == list(parts.tests)
    for condition in conditions:
        assert condition.shots is (parts.train if condition.users == "seen" else parts.shots)
        assert condition.test is parts.tests[condition.users, condition.items]


def test_a_run_of_everything_has_none():
    with pytest.raises(ValueError, match="every pair of the run's cache was fitted"):
        run_conditions(Parts(TRAIN, None, {}))


def test_other_pairs_are_known_by_names_and_embeddings():
    names = ["eve", "ann", "eve", "zoe", "ann"]
    test = other_pairs([0, 2, 8, 1, 6], [3, 4, 1, 2, 0], names)
    found = conditions_of_other_pairs(TRAIN, USERS, test, SOURCE)
    assert found.names.tolist() == ["ann", "eve"]
    assert found.pairs_of_unknown_users == 1
    np.testing.assert_array_equal(found.users.weights, USERS.weights[[0, 2]])
    old, new = found.conditions
    assert (old.users, old.items, new.users, new.items) == (
        *("seen", "known items"),
        *("seen", "new items"),
    )
    # Responses 6 to 8 were in no pair of the fit, 6 although its table has it.
    for condition, expected in (
        (old, {("ann", 2, 4), ("eve", 0, 3)}),
        (new, {("ann", 6, 0), ("eve", 8, 1)}),
    ):
        of_test = condition.test
        rows = 8 - np.stack([of_test.chosen, of_test.rejected], axis=1)
        pairs = zip(of_test.user_ids[of_test.user].tolist(), *rows.T.tolist(), strict=True)
        assert set(pairs) == expected
        assert condition.shots.user_ids.tolist() == ["ann", "eve"]
        np.testing.assert_array_equal(condition.shots.pairs_per_user(), [2, 1])


def test_a_condition_without_pairs_is_left_out():
    found = conditions_of_other_pairs(TRAIN, USERS, other_pairs([0], [3], ["eve"]), SOURCE)
    assert [condition.items for condition in found.conditions] == ["known items"]


@pytest.mark.parametrize(("chosen", "rejected"), [(2, 3), (3, 2)], ids=["as it was", "turned"])
def test_a_fitted_pair_is_refused(chosen, rejected):
    test = other_pairs([0, chosen], [3, rejected], ["eve", "bob"])
    match = "other holds 1 of 2 pairs that the run was fitted on, the first in row 1"
    with pytest.raises(ValueError, match=match):
        conditions_of_other_pairs(TRAIN, USERS, test, SOURCE)
    # Of another user it is a pair like others.
    test = other_pairs([chosen], [rejected], ["eve"])
    assert len(conditions_of_other_pairs(TRAIN, USERS, test, SOURCE).conditions) == 1


def test_users_without_names_or_unknown_are_refused():
    test = other_pairs([0], [3], ["eve"])
    for parts in (
        (dataclasses.replace(TRAIN, user_ids=None), test),
        (TRAIN, dataclasses.replace(test, user_ids=None)),
    ):
        with pytest.raises(ValueError, match="users are recognised by their names, and have none"):
            conditions_of_other_pairs(parts[0], USERS, parts[1], SOURCE)
    with pytest.raises(ValueError, match="other has no pairs of the run's 3 users"):
        conditions_of_other_pairs(TRAIN, USERS, other_pairs([0], [3], ["zoe"]), SOURCE)
