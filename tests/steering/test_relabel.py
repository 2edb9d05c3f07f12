import numpy as np
import pytest
from uncertain_model import TABLE, USERS, model, posterior

import lore_jax as lore
from lore_jax.steering.relabel import relabel


def users():
    return lore.Posterior(*posterior(), *(np.zeros(USERS) for _ in range(4)))


FIRST, SECOND, USER = np.array([3, 9, 1, 6]), np.array([6, 3, 9, 1]), np.array([4, 0, 2, 0])


def test_pairs_are_ordered_and_weighted_in_the_order_given():
    found = relabel(model(), users(), TABLE, FIRST, SECOND, USER)
    scores = lore.score(model(), users(), TABLE)
    wins = scores[USER, FIRST] > scores[USER, SECOND]
    np.testing.assert_array_equal(found.swapped, ~wins)
    for at, (one, two, user) in enumerate(zip(FIRST, SECOND, USER, strict=True)):
        better, worse = (one, two) if wins[at] else (two, one)
        pair = lore.from_arrays(TABLE, [better], [worse], [user], num_users=USERS)
        probability = lore.predict_proba(model(), users(), pair)[0]
        assert found.probability[at] == pytest.approx(probability, abs=1e-5)
    np.testing.assert_allclose(found.weight, 2 * found.probability - 1)


def test_the_other_way_round_is_the_same_choice():
    one = relabel(model(), users(), TABLE, FIRST, SECOND, USER)
    two = relabel(model(), users(), TABLE, SECOND, FIRST, USER)
    np.testing.assert_array_equal(one.swapped, ~two.swapped)
    np.testing.assert_allclose(one.weight, two.weight, atol=1e-5)


def test_bad_rows_are_refused():
    with pytest.raises(ValueError, match="99"):
        relabel(model(), users(), TABLE, np.array([99]), np.array([1]), np.array([0]))
    with pytest.raises(ValueError, match="5"):
        relabel(model(), users(), TABLE, np.array([2]), np.array([1]), np.array([USERS]))
