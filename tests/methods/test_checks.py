"""Settings of methods that cannot be are refused; ranks are those that the embeddings can have."""

from types import SimpleNamespace

import pytest

from lore_jax.methods.checks import check_at_least, check_positive, check_rank, possible_ranks


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_what_is_not_positive_is_refused(value):
    config = SimpleNamespace(ridge=value, steps=3, open=None)
    check_positive(config, "steps", "open")
    with pytest.raises(ValueError, match=f"^ridge is {value}: a positive number is expected$"):
        check_positive(config, "steps", "ridge")


def test_steps_are_counted_in_32_bits():
    with pytest.raises(ValueError, match="steps is 4294967296: at most 2,147,483,647"):
        check_positive(SimpleNamespace(steps=2**32), "steps")


def test_what_is_too_small_is_refused():
    config = SimpleNamespace(width=0, size=1)
    check_at_least(config, 0, "width", "size")
    with pytest.raises(ValueError, match=r"^width is 0: 1 or more is expected$"):
        check_at_least(config, 1, "size", "width")


def test_a_rank_below_one_is_refused():
    check_rank(None)
    check_rank(1)
    with pytest.raises(ValueError, match=r"^rank is 0: 1 or more is expected$"):
        check_rank(0)


def test_ranks_are_at_most_the_dim_but_behind_hidden_layers():
    assert possible_ranks(None, (1, 2, 5), 4, ()) == [1, 2]
    assert possible_ranks(3, (1, 2, 5), 4, ()) == [3]
    assert possible_ranks(None, (1, 2, 5), 4, (8,)) == [1, 2, 5]
    assert possible_ranks(9, (1, 2, 5), 4, (8,)) == [9]
    with pytest.raises(ValueError, match=r"^rank is 9: 1 to 4, the dim of the embeddings, is exp"):
        possible_ranks(9, (1, 2, 5), 4, ())
