"""A file of comparisons, ratings or other answers, of texts or rows: the first row decides.

Whatever was said becomes pairs, which every method takes; ratings, rankings and the like are kept
as they were said beside them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from lore_jax.data.feedback import from_answers
from lore_jax.data.feedback_splits import pairs_cross_prompts, strict_pairs
from lore_jax.datasets.formats.answers import (
    ReadAnswers,
    answers_are_indices,
    holds_answers,
    read_answers,
)
from lore_jax.datasets.formats.ratings import (
    ACROSS_PROMPTS,
    rating_columns,
    read_index_ratings,
    read_text_ratings,
)
from lore_jax.datasets.formats.records import BadRows, Row, RowSource, read_records
from lore_jax.datasets.formats.rows import (
    IndexPairs,
    TextPairs,
    index_pairs,
    no_rows,
    read_index_pairs,
    read_text_pairs,
)


@dataclasses.dataclass(frozen=True)
class HowToRead:
    """How rows become pairs.

    Attributes:
        bad: what is done with rows that are not what they should be.
        seed: seed of the draws of pairs, where rows are ratings.
        max_pairs: the most pairs drawn for a user, where rows are ratings.
        scale: lowest and highest rating; None: those that occur.
    """

    bad: BadRows
    seed: int = 0
    max_pairs: int = 60
    scale: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: 0 or more is expected")
        if self.max_pairs < 1:
            raise ValueError(f"max_pairs is {self.max_pairs}: 1 or more is expected")
        if self.scale is not None and self.scale[0] >= self.scale[1]:
            expected = "the lowest rating and a higher one are expected"
            raise ValueError(f"scale is {self.scale}: {expected}")


def holds_index_rows(path: RowSource, how: HowToRead | None = None) -> bool:
    """Whether a file is about rows of an embedding array, and not about texts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no row.
    """
    row = _first_row(path, how)
    if holds_answers(row) or rating_columns(row) is not None:
        return answers_are_indices(row)
    return type(row.get("chosen")) is int


def read_text_feedback(path: RowSource, how: HowToRead) -> TextPairs:
    """Reads comparisons, ratings or answers of texts."""
    row = _first_row(path, how)
    if holds_answers(row):
        found = read_answers(path, scale=how.scale, bad=how.bad)
        pairs = _pairs_of(found, len(found.responses), how)
        return TextPairs(**vars(pairs), responses=found.responses)
    if rating_columns(row) is None:
        return read_text_pairs(path, how.bad)
    pairs = read_text_ratings(path, seed=how.seed, max_pairs=how.max_pairs, bad=how.bad)
    found = _as_said(path, None, how)
    if found.responses != pairs.responses:
        raise ValueError(f"{path}: rows are bad in other columns than those of ratings (weight)")
    return dataclasses.replace(pairs, answers=found.blocks)


def read_index_feedback(path: RowSource, num_responses: int, how: HowToRead) -> IndexPairs:
    """Reads comparisons, ratings or answers about rows of an array of `num_responses` rows."""
    row = _first_row(path, how)
    if holds_answers(row):
        found = read_answers(path, num_responses, scale=how.scale, bad=how.bad)
        return _pairs_of(found, num_responses, how)
    if rating_columns(row) is None:
        return read_index_pairs(path, num_responses, how.bad)
    options = {"seed": how.seed, "max_pairs": how.max_pairs, "bad": how.bad}
    pairs = read_index_ratings(path, num_responses, **options)
    return dataclasses.replace(pairs, answers=_as_said(path, num_responses, how).blocks)


def _as_said(path: RowSource, num_responses: int | None, how: HowToRead) -> ReadAnswers:
    """The ratings of a file whose pairs are read, and whose bad rows are counted, already."""
    return read_answers(path, num_responses, scale=how.scale, bad=BadRows(skip=how.bad.skip))


def _pairs_of(found: ReadAnswers, num_responses: int, how: HowToRead) -> IndexPairs:
    """The pairs that answers make, with the answers."""
    table = np.zeros((num_responses, 1), np.float16)
    feedback = from_answers(table, found.blocks, user_ids=found.user_ids)
    pairs = strict_pairs(feedback, max_pairs=how.max_pairs, seed=how.seed)
    across = pairs_cross_prompts(feedback)
    if not pairs.num_pairs:
        raise ValueError(f"{found.note} make no pair: nobody ordered two responses")
    prompt = np.zeros_like(pairs.prompt) if across else pairs.prompt
    columns = np.stack([pairs.chosen, pairs.rejected, pairs.user, prompt], axis=1)
    made = index_pairs(columns, found.user_ids, pairs.pair_weight.tolist())
    note = f"{found.note} became {pairs.num_pairs:,} pairs."
    if across:
        note = f"{note} {ACROSS_PROMPTS}"
    return dataclasses.replace(made, note=note, answers=found.blocks, across_prompts=across)


def _first_row(path: RowSource, how: HowToRead | None) -> Row:
    """The first row; where bad ones are skipped, the first that has a response."""
    skip = how is not None and how.bad.skip
    bad = BadRows(skip=skip)
    for _, row in read_records(path, bad):
        if not skip or "chosen" in row or rating_columns(row) or holds_answers(row):
            return row
    raise no_rows(path, bad)
