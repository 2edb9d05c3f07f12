"""How a model pools: as its files say; the pooled embeddings against NumPy."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.tiny_model import (
    write_reward_model,
)
from lore_jax.embed.pooling import Pooling, pool, read_pooling
from lore_jax.embed.transformer.config_file import read_architecture

ENCODER_CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "vocab_size": 90,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-12,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}


@pytest.mark.parametrize(
    ("pooling", "normalize", "expected"),
    [
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
            True,
            Pooling("mean", True, 256),
        ),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
            False,
            Pooling("first", False, 256),
        ),
        (
            {"pooling_mode_lasttoken": True, "include_prompt": True},
            True,
            Pooling("last", True, 256),
        ),
        ({"pooling_mode": "mean"}, False, Pooling("mean", False, 256)),
        ({"pooling_mode_max_tokens": True}, False, r"pools by \['max_tokens'\]"),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            False,
            "one of mean, cls, lasttoken",
        ),
    ],
)
def test_pooling_is_what_the_files_say(pooling, normalize, expected, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(ENCODER_CONFIG))
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    modules += [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    modules += [
        {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}
    ] * normalize
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    model = read_architecture(tmp_path)
    if isinstance(expected, Pooling):
        assert read_pooling(tmp_path, model) == expected
        return
    with pytest.raises(ValueError, match=expected):
        read_pooling(tmp_path, model)


def test_pooling_that_the_files_do_not_say(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(ENCODER_CONFIG))
    with pytest.raises(
        ValueError, match=r"does not say how to pool tokens: a modules.json is expected"
    ):
        read_pooling(tmp_path, read_architecture(tmp_path))
    folder = write_reward_model(tmp_path / "reward")
    assert read_pooling(folder, read_architecture(folder)) == Pooling("last_non_pad")


def test_a_default_prompt_of_the_files_is_kept_and_unknown_modules_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(ENCODER_CONFIG))
    modules = [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": ""}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (tmp_path / "config.json").write_text(json.dumps(ENCODER_CONFIG | {"pooling_mode": "mean"}))
    assert read_pooling(tmp_path, read_architecture(tmp_path)).prefix == "query: "
    (tmp_path / "config.json").write_text(
        json.dumps(ENCODER_CONFIG | {"pooling_mode": "mean", "include_prompt": False})
    )
    with pytest.raises(ValueError, match="leaves the prompt 'query: ' out of the pooling"):
        read_pooling(tmp_path, read_architecture(tmp_path))
    (tmp_path / "modules.json").write_text(json.dumps([*modules, {"type": "a.Dense", "path": ""}]))
    with pytest.raises(
        ValueError, match="has a module 'Dense': supported are Transformer, Pooling, Normalize"
    ):
        read_pooling(tmp_path, read_architecture(tmp_path))


@pytest.mark.parametrize("mode", ["mean", "first", "last", "last_non_pad"])
@pytest.mark.parametrize("unit_norm", [False, True])
def test_pooled_embeddings_against_numpy(mode, unit_norm):
    hidden = np.random.default_rng(0).normal(size=(2, 8, 5)).astype(np.float32)
    item = np.array([[0, 0, 0, 1, 1, 2, -1, -1], [0, 0, 0, 0, 0, 0, 0, 0]], np.int32)
    index = np.array([[2, 3, 5, 0], [7, 0, 0, 0]], np.int32)
    pooled = np.asarray(pool(*map(jnp.asarray, (hidden, item, index)), Pooling(mode, unit_norm)))
    assert pooled.shape == (2, 4, 5)
    assert np.isfinite(pooled).all()
    for row, text in ((0, 0), (0, 1), (0, 2), (1, 0)):
        expected = hidden[row, index[row, text]]
        if mode == "mean":
            expected = hidden[row, item[row] == text].mean(axis=0)
        if unit_norm:
            expected = expected / np.linalg.norm(expected)
        np.testing.assert_allclose(pooled[row, text], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "pad_id", "expected"),
    [
        ("mean", 9, 0),
        ("first", 9, 0),
        ("last", 9, 3),
        ("last_non_pad", 9, 1),
        ("last_non_pad", None, 3),
    ],
)
def test_the_token_that_stands_for_a_text(mode, pad_id, expected):
    assert Pooling(mode).token_index(np.array([4, 5, 9, 9], np.int32), pad_id) == expected
