"""What methods answer where they say nothing else, and masks of columns."""

import numpy as np
import pytest
from joint_fit import problem

from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.defaults import WholeTable, WithoutSteps, columns_in_use
from lore_jax.methods.reference import ReferenceConfig


def test_the_scale_is_the_norm_of_the_rows():
    prefs = problem()
    norm = np.sqrt(np.mean(np.sum(np.asarray(prefs.embeddings) ** 2, axis=1)))
    assert WholeTable().input_scale(prefs) == pytest.approx(norm, rel=1e-5)
    assert BradleyTerryConfig().input_scale(prefs) == WholeTable().input_scale(prefs)
    assert ReferenceConfig().input_scale(prefs) == 1.0


def test_without_steps_a_state_stays():
    state, info = WithoutSteps().step("state", None, None)
    assert (state, float(info.loss), float(info.grad_norm)) == ("state", 0.0, 0.0)
    assert WithoutSteps().variants() == [{}]


def test_columns_are_as_many_as_the_largest_rank_has():
    masks = columns_in_use([{"rank": 3}, {"rank": 1}])
    np.testing.assert_array_equal(masks, [[1, 1, 1], [1, 0, 0]])
