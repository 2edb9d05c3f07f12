"""A loaded model: batches and devices change nothing; what does not fit is refused."""

import jax
import numpy as np
import pytest

from experiments.common.tiny_model import (
    write_reward_model,
    write_tokenizer,
)
from lore_jax.embed import EmbedConfig, embed_texts, load_encoder
from lore_jax.embed.text_encoder import as_encoder

ONE_DEVICE = jax.devices()[:1]


def test_batches_of_another_size_change_nothing(reward_folder, reward, conversations):
    texts = conversations
    large = load_encoder(reward_folder, EmbedConfig(batch_tokens=4096), devices=ONE_DEVICE)
    np.testing.assert_allclose(embed_texts(texts, large), embed_texts(texts, reward), atol=2e-5)


@pytest.mark.parametrize("model_parallel", [1, 2])
def test_many_devices_equal_one(reward_folder, reward, model_parallel, conversations):
    texts = conversations
    config = EmbedConfig(batch_tokens=256, model_parallel=model_parallel)
    many = load_encoder(reward_folder, config, devices=jax.devices()[:4])
    assert many.placement.data_parallel == 4 // model_parallel
    np.testing.assert_allclose(embed_texts(texts, many), embed_texts(texts, reward), atol=2e-5)


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


def test_an_encoder_encodes_and_describes_itself(reward, conversations):
    table = reward.encode(conversations[:5])
    np.testing.assert_array_equal(table, embed_texts(conversations[:5], reward))
    assert reward.describe()["rendering"] == "chat template"
