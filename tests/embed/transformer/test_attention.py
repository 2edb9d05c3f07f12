"""Packed attention against one text at a time in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.embed.transformer import attention
from lore_jax.embed.transformer.attention import PackedTokens, packed_attention

# Two rows: texts of 20 and 9 tokens and unused tokens; a prompt of 12 with replies of 5 and 7.
ITEM = np.array([[0] * 20 + [1] * 9 + [-1] * 3, [0] * 24 + [-1] * 8], np.int32)
BRANCH = np.array([[1] * 32, [0] * 12 + [1] * 5 + [2] * 7 + [0] * 8], np.int32)
POSITION = np.array(
    [[*range(20), *range(9), 0, 0, 0], [*range(12), *range(12, 17), *range(12, 19), *[0] * 8]],
    np.int32,
)
TOKENS = PackedTokens(np.zeros((2, 32), np.int32), POSITION, ITEM, BRANCH)
# (row, columns) of each text
TEXTS = [
    (0, [*range(20)]),
    (0, [*range(20, 29)]),
    (1, [*range(17)]),
    (1, [*range(12), *range(17, 24)]),
]
RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(2, 32, 4, 8)).astype(np.float32)
KEY, VALUE = RNG.normal(size=(2, 2, 32, 2, 8)).astype(np.float32)


def attend(row, columns, causal, window, softcap):
    """One text alone, float64, by the definition: `[tokens, heads, head_dim]`."""
    query, key, value = (array[row, columns].astype(np.float64) for array in (QUERY, KEY, VALUE))
    out = np.zeros(query.shape)
    for head in range(4):
        for i in range(len(columns)):
            visible = [
                j
                for j in range(len(columns))
                if (not causal or j <= i) and (window is None or i - j < window)
            ]
            logits = 0.3 * key[visible, head // 2] @ query[i, head]
            if softcap is not None:
                logits = softcap * np.tanh(logits / softcap)
            shares = np.exp(logits - logits.max())
            out[i, head] = shares / shares.sum() @ value[visible, head // 2]
    return out


@pytest.mark.parametrize("block", [512, 24])
@pytest.mark.parametrize(
    ("causal", "window", "softcap"),
    [(True, None, None), (True, 5, None), (True, 5, 2.0), (True, None, 2.0), (False, None, None)],
)
def test_a_text_in_a_packed_row_equals_the_text_alone(block, causal, window, softcap, monkeypatch):
    monkeypatch.setattr(attention, "_QUERY_BLOCK", block)
    out = packed_attention(
        *map(jnp.asarray, (QUERY, KEY, VALUE)),
        TOKENS,
        causal=causal,
        scale=0.3,
        window=None if window is None else jnp.int32(window),
        softcap=softcap,
    )
    texts = TEXTS if causal else TEXTS[:2]  # prompts are shared in causal models alone
    for row, columns in texts:
        expected = attend(row, columns, causal, window, softcap)
        np.testing.assert_allclose(out[row, np.array(columns)], expected, atol=1e-5)
