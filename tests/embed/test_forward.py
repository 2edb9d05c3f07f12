"""Chunks and shared prompts change nothing; a reward model's own logits."""

import numpy as np

from lore_jax.embed import embed_texts
from lore_jax.embed.forward import Chunk, embed_chunks, make_batches, own_logits


def test_sharing_a_prompt_changes_nothing_and_saves_tokens(reward, conversations):
    texts = conversations
    ids = reward.renderer.token_ids([reward.renderer.tokenizer.render_chat(text) for text in texts])
    (shared,) = embed_chunks(reward, [Chunk(ids, [0] * len(ids))])
    (alone,) = embed_chunks(reward, [Chunk(ids, list(range(len(ids))))])
    np.testing.assert_allclose(shared, alone, atol=2e-5)

    def tokens(group):
        return sum(
            (batch.tokens.item >= 0).sum() for batch in make_batches(reward, Chunk(ids, group))
        )

    assert tokens(list(range(len(ids)))) == sum(map(len, ids))
    by_prompt = [text[0]["content"] for text in texts]
    assert tokens([by_prompt.index(prompt) for prompt in by_prompt]) < 0.9 * sum(map(len, ids))


def test_chunks_come_back_in_order_and_whole(reward, conversations):
    ids = reward.renderer.token_ids(
        [reward.renderer.tokenizer.render_chat(text) for text in conversations[:30]]
    )
    chunks = [
        Chunk(ids[start : start + 7], [0] * len(ids[start : start + 7]))
        for start in range(0, 30, 7)
    ]
    tables = list(embed_chunks(reward, iter(chunks)))
    assert [len(table) for table in tables] == [7, 7, 7, 7, 2]
    (whole,) = embed_chunks(reward, [Chunk(ids, [0] * 30)])
    np.testing.assert_allclose(np.concatenate(tables), whole, atol=2e-5)


def test_own_logits_are_the_head_at_the_last_token(reward, conversations):
    texts = conversations[:6]
    ids = reward.renderer.token_ids([reward.renderer.tokenizer.render_chat(text) for text in texts])
    np.testing.assert_allclose(
        own_logits(reward, ids), embed_texts(texts, reward) @ reward.head, atol=5e-5
    )
    pad = np.int32(reward.model.pad_id)
    ended = [np.append(text, [pad, pad]).astype(np.int32) for text in ids]
    np.testing.assert_allclose(own_logits(reward, ended), own_logits(reward, ids), atol=5e-5)
