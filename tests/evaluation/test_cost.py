"""Parameters counted by hand; repeated users against a loop."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scored import Scored
from small_objects import small_objects
from split_data import random_preferences

from lore_jax.evaluation.cost import adapt_milliseconds, num_parameters, repeat_users
from lore_jax.methods.base import BasisPredictor
from lore_jax.model.prior import GaussianPrior
from lore_jax.users.predict import Margins


@pytest.mark.parametrize("users", [[], [3], [2, 2, 0, 5, 2]])
def test_repeated_users_against_a_loop(users):
    prefs = random_preferences(0)
    repeated = repeat_users(prefs, np.array(users, int))
    expected = [
        (new, prefs.chosen[pair], prefs.rejected[pair], prefs.prompt[pair])
        for new, old in enumerate(users)
        for pair in np.flatnonzero(prefs.user == old)
    ]
    columns = (repeated.user, repeated.chosen, repeated.rejected, repeated.prompt)
    assert list(zip(*columns, strict=True)) == expected
    assert repeated.num_users == len(users)


@dataclasses.dataclass(frozen=True, eq=False)
class Heads:
    heads: dict
    table: object
    users: object
    rows: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    params: dict
    learning_rate: np.ndarray


def test_numbers_that_all_users_share():
    small = small_objects()
    numbers = {"a": jnp.ones((3, 4)), "b": {"c": np.ones(5, np.float32)}}
    heads = Heads(numbers, small["prefs"], small["posterior"], np.zeros(7, int))
    assert num_parameters(heads) == 12 + 5
    assert num_parameters(Network(numbers, np.ones(()))) == 12 + 5
    model = dataclasses.replace(
        small["model"], prior=GaussianPrior(jnp.zeros(3), jnp.zeros((3, 2))), item_effects=None
    )
    assert num_parameters(BasisPredictor(model, small["posterior"])) == 8 * 3 + 3 + 6


def test_as_many_users_as_asked_for_give_their_shots():
    prefs, asked = random_preferences(0), []

    def adapted(shots, test):
        asked.append((shots, test))
        return Margins(np.zeros(test.num_pairs, np.float32), np.zeros(test.num_pairs, np.float32))

    test = prefs.take_pairs(prefs.user % 2 == 1)  # the others have nothing to predict
    assert adapt_milliseconds(Scored(adapted), prefs, test, 9) > 0
    shots, test = asked[0]
    assert test.pairs_per_user().tolist() == [1] * 9
    tested = [user for user in range(1, 12, 2) if (prefs.user == user).any()]
    whose = np.resize(tested, 9)
    assert shots.pairs_per_user().tolist() == prefs.pairs_per_user()[whose].tolist()
