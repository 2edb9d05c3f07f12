"""Cells: what JSON and CSV say is the same, and what is refused in one line."""

import pytest

from lore_jax.datasets.formats.cells import as_integer, as_list, as_order, as_weight, as_whole


@pytest.mark.parametrize("value", [3, 3.0, "3", "3.0"])
def test_whole_numbers(value):
    assert as_integer(value) == as_whole("rank", value, 1, 5) == 3


def test_lists_orders_and_weights():
    assert as_list("rank", "[2, null, 1]") == as_list("rank", [2, None, 1]) == [2, None, 1]
    assert as_order([2, None, 1], 3) == ([2, 0, 1], 2)
    assert as_weight("0.5") == as_weight(0.5) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: as_whole("rank", 2.5, 1, 5), "rank is 2.5: a whole number from 1 to 5"),
        (lambda: as_whole("rank", "x", 1, 5), "rank is 'x': a whole number from 1 to 5"),
        (lambda: as_whole("rank", True, 1, 5), "rank is True: a whole number"),
        (lambda: as_list("rank", "[2,"), "rank is no whole JSON list"),
        (lambda: as_list("rank", 2), "rank is an integer: a list is expected"),
        (lambda: as_order([1], 2), "rank has 1 entries for 2 responses"),
        (lambda: as_order([1, 1], 2), "rank holds 1 twice"),
        (lambda: as_order([None, None], 2), "rank holds no rank"),
        (lambda: as_weight("many"), "weight is 'many': a number"),
        (lambda: as_weight(-1), "weight is -1: a number"),
        (lambda: as_weight(float("nan")), "weight is nan: a number"),
    ],
)
def test_what_it_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
