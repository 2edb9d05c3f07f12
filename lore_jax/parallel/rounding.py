"""Sizes rounded up to few numbers, so that data sets of like size share compiled programs.

A program is compiled for the shapes of its arrays, which takes the same seconds however small they
are; what padding costs grows with them. So small arrays are rounded coarsely, large ones finely.
"""

from __future__ import annotations


def rounded(count: int, digits: int) -> int:
    """The next number with at most so many binary digits that are not trailing zeros.

    There are `2^(digits - 1)` of them between a power of two and the next, so that less than one
    part in `2^(digits - 1)` is added.

    Args:
        count: 0 or more.
        digits: 1 or more; 1: powers of two.

    Returns:
        A number that is at least `count`.

    Example:
        >>> [rounded(count, 2) for count in (5, 6, 7, 100)]
        [6, 6, 8, 128]
    """
    step = 1 << max(0, count.bit_length() - digits)
    return -(-count // step) * step


_ROWS = 64  # fewer cost as much
_FEW_ROWS = 1024
_DIGITS_OF_ROWS = 3, 5
_FEW_PAIRS = 16_384


def rounded_rows(count: int) -> int:
    """To how many rows a table of so many is filled up: in steps of a quarter, above 1,024 of 1/16.

    Example:
        >>> [rounded_rows(count) for count in (7, 300, 504, 12_800)]
        [64, 320, 512, 12800]
    """
    return rounded(max(count, _ROWS), _DIGITS_OF_ROWS[count > _FEW_ROWS])


def rounded_pairs(count: int) -> int:
    """To how many a column of pairs or users is filled up: a power of two, above 16,384 in 16ths.

    What is worked out for one of them takes nanoseconds, where a row of a table takes products with
    a basis: test sets of very different sizes may share a program.

    Example:
        >>> [rounded_pairs(count) for count in (7, 300, 3_000, 100_000)]
        [64, 512, 4096, 102400]
    """
    return rounded(max(count, _ROWS), 5 if count > _FEW_PAIRS else 1)
