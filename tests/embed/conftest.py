"""Tiny models as Hugging Face folders, loaded once for all tests."""

import jax
import numpy as np
import pytest

from experiments.common.tiny_model import write_reward_model, write_sentence_encoder
from lore_jax.embed import EmbedConfig, load_encoder


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory):
    return write_reward_model(tmp_path_factory.mktemp("models") / "reward")


@pytest.fixture(scope="session")
def sentence_folder(tmp_path_factory):
    return write_sentence_encoder(tmp_path_factory.mktemp("models") / "sentences")


@pytest.fixture(scope="session")
def reward(reward_folder):
    return load_encoder(reward_folder, EmbedConfig(batch_tokens=256), devices=jax.devices()[:1])


@pytest.fixture(scope="session")
def sentences(sentence_folder):
    return load_encoder(sentence_folder, EmbedConfig(batch_tokens=256), devices=jax.devices()[:1])


@pytest.fixture(scope="session")
def conversations():
    """Forty conversations of many lengths: several replies to each of ten prompts."""
    rng = np.random.default_rng(0)

    def words(most):
        return " ".join("word" * int(rng.integers(1, 3)) for _ in range(rng.integers(1, most)))

    prompts = [words(12) for _ in range(10)]
    return [
        [
            {"role": "user", "content": prompts[rng.integers(len(prompts))]},
            {"role": "assistant", "content": words(20)},
        ]
        for _ in range(40)
    ]


@pytest.fixture
def expect_refusal(tmp_path):
    """`expect_refusal(damage, error, message)`: of a reward model's folder that was damaged."""

    def expect(damage, error, message):
        folder = write_reward_model(tmp_path / "model")
        damage(folder)
        with pytest.raises(error, match=message) as raised:
            load_encoder(folder, devices=jax.devices()[:1])
        assert "\n" not in str(raised.value)

    return expect
