"""Candidates: pairs of one prompt, each once, and rows that are refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.data.preferences import from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior
from lore_jax.users.adapt import adapt
from lore_jax.users.candidates import (
    AnsweredPairs,
    candidate_pairs,
    check_asked,
    check_pairs,
    check_rows,
)
from lore_jax.users.questions import ask

TABLE = np.random.default_rng(0).standard_normal((14, 3)).astype(np.float32)
PRIOR = GaussianPrior(jnp.ones(3), jnp.eye(3))
MODEL = Model(LinearBasis(3), {"V": jnp.eye(3)}, jnp.ones(()), PRIOR)


def test_candidates_are_pairs_of_one_prompt():
    prefs = from_arrays(TABLE, [0, 2, 3], [1, 1, 4], [0, 0, 0], prompt=[5, 5, 7])
    assert candidate_pairs(prefs).tolist() == [[0, 1], [0, 2], [1, 2], [3, 4]]
    assert candidate_pairs(prefs, most=2).shape == (2, 2)
    found = ask(MODEL, adapt(MODEL, prefs), prefs)
    assert (found.first[0, 0], found.second[0, 0]) == (0, 2)  # the only one not answered


def test_what_is_checked_comes_back():
    pairs = np.array([[0, 1], [2, 3]])
    np.testing.assert_array_equal(check_pairs("candidates", pairs, 5, 4), pairs)
    padded = np.array([[[0, 1], [-1, -1]]])
    np.testing.assert_array_equal(check_pairs("candidates", padded, 1, 4), padded)
    np.testing.assert_array_equal(check_rows("rows", [3, 0], 4), [3, 0])
    assert check_asked(None, 2, 3) is None
    with pytest.raises(ValueError, match="candidates holds 4, outside a table of 4 responses"):
        check_pairs("candidates", [[0, 4]], 5, 4)
    with pytest.raises(ValueError, match=r"bool \[3\] or \[2, 3\] is expected"):
        check_asked([1, 0, 1], 2, 3)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_answered_pairs_are_found_by_brute_force(own):
    rng = np.random.default_rng(0)
    candidates = rng.integers(6, size=(4, 9, 2) if own else (9, 2))
    candidates[..., -1, :] = -1  # padding
    users, place = np.array([2, 0, 2]), rng.integers(3, size=20)
    answered = rng.integers(6, size=(20, 2))
    found = AnsweredPairs(candidates, 6).mask(users, place, answered)
    for row, user in enumerate(users):
        mine = [set(pair) for pair in answered[place == row].tolist()]
        asked = candidates[user] if own else candidates
        assert found[row].tolist() == [set(pair) in mine for pair in asked.tolist()]
