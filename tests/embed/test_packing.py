"""Packing: every text is laid out once, sees itself and nothing else, and few shapes are used."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lore_jax.embed.packing import Item, Part, make_items, pack, usual_row_length
from lore_jax.embed.transformer.attention import PackedTokens, _visible


def last(ids):
    return len(ids) - 1


def random_texts(rng, groups, longest):
    """Texts of several groups; those of one group begin alike."""
    texts, group = [], []
    for number in range(groups):
        beginning = rng.integers(0, 50, rng.integers(0, longest))
        for _ in range(rng.integers(1, 5)):
            texts.append(
                np.append(beginning, rng.integers(0, 50, rng.integers(1, longest))).astype(np.int32)
            )
            group.append(number)
    return texts, group


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    groups=st.integers(1, 12),
    longest=st.sampled_from([3, 20, 90]),
    share=st.booleans(),
    multiple=st.sampled_from([1, 2, 8]),
)
def test_every_text_sees_itself_and_nothing_else(seed, groups, longest, share, multiple):
    texts, group = random_texts(np.random.default_rng(seed), groups, longest)
    batches = pack(
        make_items(texts, group, last, share=share, row_length=64),
        row_length=64,
        batch_tokens=256,
        rows_multiple=multiple,
    )
    found = []
    for batch in batches:
        rows, length = batch.tokens.token.shape
        assert rows % multiple == 0
        assert length & (length - 1) == 0
        assert rows * length <= max(256, length * multiple)
        visible = np.empty((rows, length, length), bool)
        for row in range(rows):
            # One row at a time: a few shapes to compile.
            tokens = PackedTokens(*(array[row : row + 1] for array in batch.tokens))
            visible[row] = _visible(tokens, 0, length, length, causal=True, window=None)[0, 0]
        for row, slot in zip(*np.nonzero(batch.text >= 0), strict=True):
            text = texts[batch.text[row, slot]]
            seen = np.flatnonzero(visible[row, batch.index[row, slot]])
            np.testing.assert_array_equal(batch.tokens.token[row, seen], text)
            np.testing.assert_array_equal(batch.tokens.position[row, seen], np.arange(len(text)))
            found.append(batch.text[row, slot])
    assert sorted(found) == list(range(len(texts)))


def test_replies_share_their_prompt():
    prompt = np.arange(30, dtype=np.int32)
    texts = [np.append(prompt, [100 + number] * 5).astype(np.int32) for number in range(4)]
    (item,) = make_items(texts, [0] * 4, last, share=True, row_length=64)
    assert item.length == 30 + 4 * 5
    two = make_items(texts, [0] * 4, last, share=True, row_length=45)
    assert [len(item.parts) for item in two] == [3, 1]
    assert [
        item.length for item in make_items(texts, [0, 1, 2, 3], last, share=True, row_length=64)
    ] == [35] * 4


def test_the_pooled_token_is_never_shared():
    # A text that is the beginning of another would otherwise be all shared.
    texts = [np.arange(20, dtype=np.int32), np.arange(25, dtype=np.int32)]
    (item,) = make_items(texts, [0, 0], last, share=True, row_length=64)
    assert [len(part.own) for part in item.parts] == [1, 6]
    assert [part.index for part in item.parts] == [0, 5]


def test_short_texts_fill_the_rows():
    rng = np.random.default_rng(0)
    lengths = rng.integers(4, 60, 500)
    items = [
        Item(np.zeros(0, np.int32), [Part(n, np.zeros(n_tokens, np.int32), 0)])
        for n, n_tokens in enumerate(lengths)
    ]
    batches = pack(items, row_length=128, batch_tokens=2048, rows_multiple=1)
    laid_out = sum(batch.tokens.token.size for batch in batches)
    assert lengths.sum() / laid_out > 0.97
    assert len({batch.tokens.token.shape for batch in batches}) <= 3


def test_one_short_text_is_a_short_row():
    (batch,) = pack(
        make_items([np.arange(20, dtype=np.int32)], [0], last, share=False, row_length=128),
        row_length=128,
        batch_tokens=2048,
        rows_multiple=1,
    )
    assert batch.tokens.token.shape == (1, 32)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([21] * 9, 64), ([300, 400], 1024), ([5], 16), ([1], 16), ([3000], 2048), ([], 16)],
)
def test_rows_hold_a_few_texts(lengths, expected):
    assert usual_row_length(lengths, batch_tokens=2048) == expected
