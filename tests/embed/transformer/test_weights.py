"""What a model's folder says, and every way in which it can be incomplete, damaged or of another
kind.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments.common.tiny_model import (
    decoder_config,
    decoder_weights,
    write_reward_model,
    write_tokenizer,
)
from lore_jax.embed.pooling import Pooling, read_pooling
from lore_jax.embed.text_encoder import EmbedConfig, load_encoder
from lore_jax.embed.transformer.architectures import read_architecture
from lore_jax.embed.transformer.placement import make_placement
from lore_jax.embed.transformer.rope import Rope, read_rope
from lore_jax.embed.transformer.weights import load_params, model_identity

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


def first_device(folder, dtype=None):
    model = read_architecture(folder)
    return load_params(folder, model, make_placement(model, jax.devices()[:1]), dtype)


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def truncate(path, fraction=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])


def delete(*names):
    def change(weights):
        for name in names:
            del weights[name]

    return change


def test_weights_are_stacked_by_layer(tmp_path):
    folder = write_reward_model(tmp_path / "model")
    stored = decoder_weights(decoder_config())
    params, head = first_device(folder)
    for layer in (0, 1):
        np.testing.assert_array_equal(
            params.layers["up"][layer], stored[f"model.layers.{layer}.mlp.up_proj.weight"]
        )
    np.testing.assert_array_equal(params.single["embedding"], stored["model.embed_tokens.weight"])
    np.testing.assert_array_equal(head, stored["score.weight"][0])
    assert params.single["embedding"].dtype == jnp.float32


def test_shards_and_number_types(tmp_path):
    one, _ = first_device(write_reward_model(tmp_path / "one"))
    three, _ = first_device(write_reward_model(tmp_path / "three", shards=3))
    half, _ = first_device(tmp_path / "three", jnp.bfloat16)
    jax.tree.map(np.testing.assert_array_equal, one, three)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.astype(jnp.bfloat16), b), one, half)


def test_names_without_the_family_prefix_and_parts_that_are_not_needed(tmp_path):
    folder = write_reward_model(tmp_path / "model")
    expected, _ = first_device(folder)

    def rename(weights):
        for name in list(weights):
            weights[name.removeprefix("model.")] = weights.pop(name)
        weights["lm_head.weight"] = np.zeros((3, 3), np.float32)
        weights["layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(4, np.float32)

    change_weights(folder, rename)
    jax.tree.map(np.testing.assert_array_equal, first_device(folder)[0], expected)


NORM, UP = "model.norm.weight", "model.layers.1.mlp.up_proj.weight"
# what is done to the folder, the error, what its message says
DAMAGE = {
    "no folder": (lambda f: f.rename(f.with_name("away")), FileNotFoundError, "is not a folder"),
    "no config": (lambda f: (f / "config.json").unlink(), FileNotFoundError, "has no config.json"),
    "broken config": (lambda f: truncate(f / "config.json"), ValueError, "config.json is not JSON"),
    "config without a field": (
        lambda f: (f / "config.json").write_text(
            '{"model_type": "llama", "architectures": ["LlamaModel"]}'
        ),
        ValueError,
        "config.json has no 'num_hidden_layers'",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        FileNotFoundError,
        "has no weights",
    ),
    "pickled weights": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        FileNotFoundError,
        "pytorch_model.bin may run code when it is loaded: convert it to safetensors",
    ),
    "half-downloaded": (
        lambda f: truncate(f / "model.safetensors"),
        ValueError,
        "model.safetensors is truncated",
    ),
    "not safetensors": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs"),
        ValueError,
        "damaged",
    ),
    "missing names": (
        lambda f: change_weights(f, delete(NORM, UP)),
        ValueError,
        f"missing: {NORM}, {UP}",
    ),
    "no names at all": (
        lambda f: save_file({}, f / "model.safetensors"),
        ValueError,
        "and 13 more",
    ),
    "unexpected name": (
        lambda f: change_weights(f, lambda w: w.update(extra=np.zeros(3, np.float32))),
        ValueError,
        "unexpected: extra",
    ),
    "another shape": (
        lambda f: change_weights(f, lambda w: w.update({NORM: np.zeros(31, np.float32)})),
        ValueError,
        r"model.norm.weight is \[31\], \[32\] is expected",
    ),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").unlink(),
        FileNotFoundError,
        "has no tokenizer.json",
    ),
    "broken tokenizer": (
        lambda f: truncate(f / "tokenizer.json"),
        ValueError,
        "the tokenizer in .* cannot be loaded",
    ),
    "no chat template": (lambda f: write_tokenizer(f, None), ValueError, "no chat template"),
    "unknown architecture": (
        lambda f: change_config(f, architectures=["MambaForCausalLM"], model_type="mamba"),
        ValueError,
        "is for MambaForCausalLM .*supported: Llama, Mistral, Qwen2, Qwen3",
    ),
    "code in the folder": (
        lambda f: change_config(f, auto_map={"AutoModel": "code.py"}),
        ValueError,
        "asks to run code from the folder, which is never done",
    ),
    "unknown rope": (
        lambda f: change_config(f, rope_scaling={"rope_type": "longrope", "factor": 2.0}),
        ValueError,
        "rope type 'longrope': supported are default, linear, llama3",
    ),
    "rope without its factors": (
        lambda f: change_config(f, rope_scaling={"type": "llama3", "factor": 2.0}),
        ValueError,
        "needs low_freq_factor, high_freq_factor, original_max_position_embeddings",
    ),
    "many labels": (
        lambda f: change_config(f, id2label={"0": "a", "1": "b"}),
        ValueError,
        "score head of 2 labels: a reward model with one is expected",
    ),
    "unknown activation": (
        lambda f: change_config(f, hidden_act="quick"),
        ValueError,
        "activation 'quick'",
    ),
    "attention bias": (
        lambda f: change_config(f, attention_bias=True),
        ValueError,
        "attention_bias",
    ),
    "layers left out": (
        lambda f: change_config(f, layer_types=["full_attention"]),
        ValueError,
        "of 1 layers, and has 2",
    ),
    "unknown layers": (
        lambda f: change_config(f, layer_types=["linear"] * 2),
        ValueError,
        "layers of type 'linear'",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_folder_that_is_not_a_whole_supported_model_is_refused_in_one_line(name, tmp_path):
    damage, error, message = DAMAGE[name]
    folder = write_reward_model(tmp_path / "model")
    damage(folder)
    with pytest.raises(error, match=message) as raised:
        load_encoder(folder, devices=jax.devices()[:1])
    assert "\n" not in str(raised.value)


def test_a_missing_shard_is_named(tmp_path):
    folder = write_reward_model(tmp_path / "model", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"model-00002-of-00003.safetensors is missing, which .*index.json names",
    ):
        load_encoder(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ValueError, match=r"index\.json is damaged"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EmbedConfig(max_length=513), "max_length is 513: 2 to 512"),
        (EmbedConfig(max_length=1), "max_length is 1: 2 to 512"),
        (EmbedConfig(batch_tokens=8), "batch_tokens is 8: 16 or more"),
        (EmbedConfig(model_parallel=3), "model_parallel is 3: a divisor of the 8 devices"),
        (
            EmbedConfig(model_parallel=4),
            "model_parallel is 4: a divisor of the model's 2 key heads",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_encoder(write_reward_model(tmp_path / "model"), config)


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


def test_pooling_without_a_word_about_it(tmp_path):
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


def test_llama3_frequencies_against_their_definition():
    rope = Rope(500.0, "llama3", 8.0, 1.0, 4.0, 64)
    plain = Rope(500.0).frequencies(32).astype(np.float64)
    wavelength = 2 * np.pi / plain
    scaled = rope.frequencies(32)
    short, long = wavelength < 64 / 4, wavelength > 64 / 1
    assert short.any()
    assert long.any()
    assert (~short & ~long).any()
    np.testing.assert_allclose(scaled[short], plain[short], rtol=1e-6)
    np.testing.assert_allclose(scaled[long], plain[long] / 8, rtol=1e-6)
    between = ~short & ~long
    smooth = (64 / wavelength[between] - 1) / (4 - 1)
    np.testing.assert_allclose(
        scaled[between], (1 - smooth) * plain[between] / 8 + smooth * plain[between], rtol=1e-6
    )


def test_rope_fields_of_both_spellings():
    assert read_rope({}, 1e4, "config.json") == Rope(1e4)
    assert read_rope({"rope_type": "default", "rope_theta": 5.0}, 1e4, "config.json") == Rope(5.0)
    assert read_rope({"type": "linear", "factor": 2}, 1e4, "config.json") == Rope(
        1e4, "linear", 2.0
    )
    with pytest.raises(ValueError, match="rotates a part of each head only"):
        read_rope({"partial_rotary_factor": 0.5}, 1e4, "config.json")


def test_the_identity_follows_the_content_not_the_place(tmp_path):
    one = model_identity(write_reward_model(tmp_path / "one"))
    cached = tmp_path / "models--org--name" / "snapshots" / "abc123"
    two = model_identity(write_reward_model(cached))
    assert two == {"model": "org/name", "revision": "abc123", "sha256": one["sha256"]}
    assert one["model"] == "one"
    change_config(cached, rms_norm_eps=1e-6)
    assert model_identity(cached)["sha256"] != one["sha256"]
