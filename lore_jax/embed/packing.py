"""Packing: texts of many lengths into rows that several texts share, and batches of few shapes.

Padding every text to a bucket wastes tokens, and every bucket is a compilation. Therefore texts are
packed end to end into rows of one length; only texts longer than that get rows of the next powers
of two. Attention stays inside a text (`lore_jax/embed/transformer/attention.py`), so the result is
that of the text alone. Replies to one prompt follow it in the same row and share its tokens.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lore_jax.embed.transformer.attention import PackedTokens

_SHORTEST_ROW = 16
_SHORTEST_SHARED = 8  # a shorter common beginning is not worth its own branch


class Part(NamedTuple):
    """A text's number, its tokens after the shared ones, and which of them is pooled."""

    text: int
    own: Int[np.ndarray, " tokens"]
    index: int


class Item(NamedTuple):
    """Texts that are laid out together: the tokens that all begin with, and each text's own."""

    shared: Int[np.ndarray, " tokens"]
    parts: list[Part]

    @property
    def length(self) -> int:
        """The number of tokens it takes in a row."""
        return len(self.shared) + sum(len(part.own) for part in self.parts)


class Batch(NamedTuple):
    """Rows for one call of the forward pass.

    Attributes:
        tokens: the rows.
        index: for each text, the column of the token that stands for it.
        text: the number of the text; -1 where there is none.
    """

    tokens: PackedTokens
    index: Int[np.ndarray, "rows texts"]
    text: Int[np.ndarray, "rows texts"]


def usual_row_length(lengths: Sequence[int], batch_tokens: int) -> int:
    """The length of rows for texts of these lengths: a power of two, 2 to 4 times their mean.

    Longer rows would leave fewer tokens unused, but attention, which compares all tokens of a row,
    would cost more.
    """
    mean = sum(lengths) / max(len(lengths), 1)
    longest = 1 << (batch_tokens.bit_length() - 1)
    return max(_SHORTEST_ROW, min(_power_of_two(math.ceil(2 * mean)), longest))


def make_items(
    token_ids: Sequence[Int[np.ndarray, " _"]],
    group: Sequence[int],
    pooled: Callable[[Int[np.ndarray, " _"]], int],
    *,
    share: bool,
    row_length: int,
) -> list[Item]:
    """Joins texts of one group that begin with the same tokens.

    Args:
        token_ids: the tokens of each text.
        group: which texts may share their beginning (the replies to one prompt have one number).
        pooled: which token stands for a text.
        share: whether to join at all; only right for causal models that pool one token.
        row_length: joined texts are not longer than this, unless one of them is.

    Returns:
        The items, in the order of their first text.
    """
    if not share:
        return [Item(ids[:0], [Part(text, ids, pooled(ids))]) for text, ids in enumerate(token_ids)]
    members: dict[int, list[int]] = {}
    for text, number in enumerate(group):
        members.setdefault(number, []).append(text)
    items = []
    for texts in members.values():
        indices = [pooled(token_ids[text]) for text in texts]
        # The token that stands for a text is its own, so that it has seen all of the text.
        common = min(_common_length([token_ids[text] for text in texts]), *indices)
        if len(texts) == 1 or common < _SHORTEST_SHARED:
            common = 0
        shared, parts, length = token_ids[texts[0]][:common], [], common
        for text, index in zip(texts, indices, strict=True):
            own = token_ids[text][common:]
            if parts and (common == 0 or length + len(own) > row_length):
                items.append(Item(shared, parts))
                parts, length = [], common
            parts.append(Part(text, own, index - common))
            length += len(own)
        items.append(Item(shared, parts))
    return items


def _common_length(sequences: Sequence[np.ndarray]) -> int:
    """The number of tokens that all sequences begin with."""
    shortest = min(map(len, sequences))
    differs = np.zeros(shortest, bool)
    for sequence in sequences[1:]:
        differs |= sequence[:shortest] != sequences[0][:shortest]
    return int(differs.argmax()) if differs.any() else shortest


def pack(
    items: Sequence[Item], *, row_length: int, batch_tokens: int, rows_multiple: int
) -> list[Batch]:
    """Packs items into rows, best fit with the longest first, and rows into batches of few shapes.

    Args:
        items: what to lay out.
        row_length: a power of two: the usual length of a row.
        batch_tokens: the most tokens of a batch, unless one row has more.
        rows_multiple: the number of rows of every batch is a multiple of it.
    """
    total = sum(item.length for item in items)
    if total < row_length:
        row_length = max(_SHORTEST_ROW, _power_of_two(total))
    rows_by_length: dict[int, list[list[Item]]] = {}
    open_rows: list[tuple[int, int, int]] = []  # (tokens left, length, number), ascending
    for item in sorted(items, key=lambda item: -item.length):
        best = bisect.bisect_left(open_rows, (item.length,))
        if best < len(open_rows):
            left, length, number = open_rows.pop(best)
        else:
            left = length = max(row_length, _power_of_two(item.length))
            number = len(rows_by_length.setdefault(length, []))
            rows_by_length[length].append([])
        rows_by_length[length][number].append(item)
        bisect.insort(open_rows, (left - item.length, length, number))
    batches = []
    for length, rows in rows_by_length.items():
        for start, stop, padded in _split(len(rows), batch_tokens // length, rows_multiple):
            batches.append(_lay_out(rows[start:stop], length, padded))
    return batches


def _split(rows: int, most: int, multiple: int) -> list[tuple[int, int, int]]:
    """(start, stop, padded rows) of batches of the largest size, a quarter of it, and so on."""
    size, start, pieces = multiple * max(1, most // multiple), 0, []
    while start < rows:
        if rows - start >= size or size == multiple:
            pieces.append((start, min(start + size, rows), size))
            start += size
        else:
            size = multiple * max(1, size // multiple // 4)
    return pieces


def _lay_out(rows: Sequence[Sequence[Item]], length: int, padded: int) -> Batch:
    most_texts = max(sum(len(item.parts) for item in row) for row in rows)
    tokens = PackedTokens(*np.zeros((4, padded, length), np.int32))
    tokens.item[:] = -1
    index = np.zeros((padded, _power_of_two(most_texts)), np.int32)
    text = np.full(index.shape, -1, np.int64)
    for row, items in enumerate(rows):
        column = slot = 0
        for number, item in enumerate(items):
            pieces = [item.shared, *(part.own for part in item.parts)]
            for branch, piece in enumerate(pieces):
                first = len(item.shared) if branch else 0
                span = slice(column, column + len(piece))
                tokens.token[row, span] = piece
                tokens.position[row, span] = np.arange(first, first + len(piece))
                tokens.item[row, span] = number
                tokens.branch[row, span] = branch
                if branch:
                    part = item.parts[branch - 1]
                    text[row, slot], index[row, slot] = part.text, column + part.index
                    slot += 1
                column = span.stop
    return Batch(tokens, index, text)


def _power_of_two(number: int) -> int:
    """The smallest power of two that is not smaller; 1 for 0."""
    return 1 << max(number - 1, 0).bit_length()
