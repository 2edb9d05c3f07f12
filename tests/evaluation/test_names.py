"""The number of shots that is reported."""

import pytest

from lore_jax.evaluation.names import SHOTS, nearest_shots


@pytest.mark.parametrize(
    ("counts", "nearest"), [([0, 5, 10, 20, 40], 20), ([40, 15, 25], 15), ([0], 0), ([], SHOTS)]
)
def test_the_nearest_number_of_shots_is_taken(counts, nearest):
    assert nearest_shots(counts) == nearest


def test_another_number_may_be_wanted():
    assert nearest_shots([0, 2, 8], 7) == 8
