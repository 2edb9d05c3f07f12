"""Rounded sizes: few of them, never below, never far above."""

from hypothesis import given
from hypothesis import strategies as st

from lore_jax.parallel.rounding import rounded, rounded_pairs, rounded_rows


@given(count=st.integers(0, 10**7), digits=st.integers(1, 6))
def test_the_next_number_of_so_many_digits(count, digits):
    size = rounded(count, digits)
    assert count <= size <= count * (1 + 2 ** (1 - digits))
    assert bin(size).rstrip("0").count("1") + bin(size).rstrip("0")[2:].count("0") <= digits
    assert rounded(size, digits) == size


def test_few_sizes():
    assert len({rounded(count, 2) for count in range(1, 1025)}) == 20
    assert len({rounded_rows(count) for count in range(1, 1025)}) == 17
    assert len({rounded_pairs(count) for count in range(1, 16_385)}) == 9


@given(st.integers(1, 10**6))
def test_rows(count):
    rows = rounded_rows(count)
    assert count <= rows <= max(64, 1.25 * count)
    pairs = rounded_pairs(count)
    assert count <= pairs <= max(64, (2 if count <= 16_384 else 1.07) * count)
