"""A file of comparisons or of ratings, of texts or of rows of an array: the first row decides."""

from __future__ import annotations

from typing import NamedTuple

from lore_jax.datasets.formats.ratings import (
    is_index,
    rating_columns,
    read_index_ratings,
    read_text_ratings,
)
from lore_jax.datasets.formats.records import BadRows, Row, RowSource, read_records
from lore_jax.datasets.formats.rows import (
    IndexPairs,
    TextPairs,
    no_rows,
    read_index_pairs,
    read_text_pairs,
)


class HowToRead(NamedTuple):
    """How rows become pairs.

    Attributes:
        bad: what is done with rows that are not what they should be.
        seed: seed of the draws of pairs, where rows are ratings.
        max_pairs: the most pairs drawn for a user, where rows are ratings.
    """

    bad: BadRows
    seed: int = 0
    max_pairs: int = 60


def holds_index_rows(path: RowSource, how: HowToRead | None = None) -> bool:
    """Whether a file is about rows of an embedding array, and not about texts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no row.
    """
    row = _first_row(path, how)
    columns = rating_columns(row)
    return type(row.get("chosen")) is int if columns is None else is_index(row[columns[0]])


def read_text_feedback(path: RowSource, how: HowToRead) -> TextPairs:
    """Reads comparisons or ratings of texts, by `read_text_pairs` or `read_text_ratings`."""
    if rating_columns(_first_row(path, how)) is None:
        return read_text_pairs(path, how.bad)
    return read_text_ratings(path, seed=how.seed, max_pairs=how.max_pairs, bad=how.bad)


def read_index_feedback(path: RowSource, num_responses: int, how: HowToRead) -> IndexPairs:
    """Reads comparisons or ratings of rows of an array of `num_responses` rows."""
    if rating_columns(_first_row(path, how)) is None:
        return read_index_pairs(path, num_responses, how.bad)
    options = {"seed": how.seed, "max_pairs": how.max_pairs, "bad": how.bad}
    return read_index_ratings(path, num_responses, **options)


def _first_row(path: RowSource, how: HowToRead | None) -> Row:
    """The first row; where bad ones are skipped, the first that has a response."""
    skip = how is not None and how.bad.skip
    bad = BadRows(skip=skip)
    for _, row in read_records(path, bad):
        if not skip or "chosen" in row or rating_columns(row):
            return row
    raise no_rows(path, bad)
