"""A loaded model: batches, chunks and devices change nothing; what does not fit is refused."""

import jax
import numpy as np
import pytest

from experiments.common.tiny_model import (
    write_reward_model,
    write_tokenizer,
)
from lore_jax.embed import EmbedConfig, embed_texts, load_encoder
from lore_jax.embed.text_encoder import Chunk, as_encoder, embed_chunks, make_batches, own_logits

ONE_DEVICE = jax.devices()[:1]


def test_batches_of_another_size_change_nothing(reward_folder, reward, conversations):
    texts = conversations
    large = load_encoder(reward_folder, EmbedConfig(batch_tokens=4096), devices=ONE_DEVICE)
    np.testing.assert_allclose(embed_texts(texts, large), embed_texts(texts, reward), atol=2e-5)


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


@pytest.mark.parametrize("model_parallel", [1, 2])
def test_many_devices_equal_one(reward_folder, reward, model_parallel, conversations):
    texts = conversations
    config = EmbedConfig(batch_tokens=256, model_parallel=model_parallel)
    many = load_encoder(reward_folder, config, devices=jax.devices()[:4])
    assert many.placement.data_parallel == 4 // model_parallel
    np.testing.assert_allclose(embed_texts(texts, many), embed_texts(texts, reward), atol=2e-5)


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


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EmbedConfig(max_length=513), "max_length is 513: 2 to 512"),
        (EmbedConfig(max_length=1), "max_length is 1: 2 to 512"),
        (EmbedConfig(batch_tokens=8), "batch_tokens is 8: 16 or more"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_encoder(write_reward_model(tmp_path / "model"), config)


def test_a_loaded_encoder_is_configured_already(reward):
    assert as_encoder(reward, None) is reward
    with pytest.raises(ValueError, match="config goes to load_encoder"):
        as_encoder(reward, EmbedConfig())


def test_a_chat_model_without_a_template_is_refused(expect_refusal):
    expect_refusal(lambda folder: write_tokenizer(folder, None), ValueError, "no chat template")
