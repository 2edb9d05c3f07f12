"""Users by name or number."""

import numpy as np
import pytest

from lore_jax.users.named_users import NamedUsers


@pytest.mark.parametrize(
    ("who", "numbers"),
    [
        ("bob", [1]),
        (0, [0]),
        (["eve", "ann"], [2, 0]),
        (np.array([2, 2]), [2, 2]),
        ([1, "eve"], [1, 2]),
    ],
)
def test_names_and_numbers(who, numbers):
    assert NamedUsers(["ann", "bob", "eve"]).numbers(who).tolist() == numbers


def test_none_is_the_only_one():
    assert NamedUsers(1).numbers(None).tolist() == [0]
    with pytest.raises(ValueError, match="user is None, but the session has 3 users"):
        NamedUsers(3).numbers(None)


@pytest.mark.parametrize("who", ["mallory", 3, -1, ["ann", "mallory"], []])
def test_others_are_refused(who):
    with pytest.raises(ValueError, match="is not one of the 3 of this session"):
        NamedUsers(["ann", "bob", "eve"]).numbers(who)
