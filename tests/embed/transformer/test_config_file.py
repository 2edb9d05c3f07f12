"""What config.json says, and every model that is refused for it."""

import json

import pytest

from experiments.common.tiny_model import (
    decoder_config,
)
from lore_jax.embed.transformer.architectures import Encoder
from lore_jax.embed.transformer.config_file import read_architecture
from lore_jax.embed.transformer.rope import Rope

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


def truncate(path, fraction=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


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
def test_a_folder_that_is_not_a_supported_model_is_refused(expect_refusal, name):
    expect_refusal(*DAMAGE[name])


def test_an_encoder_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(ENCODER_CONFIG))
    model = read_architecture(tmp_path)
    assert isinstance(model, Encoder)
    assert (model.dim, model.first_position, model.max_length) == (16, 0, 64)
    change_config(tmp_path, model_type="roberta", architectures=["RobertaModel"], pad_token_id=1)
    model = read_architecture(tmp_path)
    assert (model.first_position, model.max_length) == (2, 62)  # RoBERTa counts from pad_id + 1
    change_config(tmp_path, position_embedding_type="relative_key")
    with pytest.raises(ValueError, match="of type 'relative_key': 'absolute' is expected"):
        read_architecture(tmp_path)


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def test_old_and_new_spelling_of_rope_agree(tmp_path):
    config = decoder_config()
    del config["rope_theta"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"rope_parameters": LLAMA3}))
    new = read_architecture(tmp_path)
    scaling = {name: value for name, value in LLAMA3.items() if name != "rope_theta"}
    old = {"rope_theta": LLAMA3["rope_theta"], "rope_scaling": scaling}
    (tmp_path / "config.json").write_text(json.dumps(config | old))
    assert read_architecture(tmp_path) == new
    assert new.ropes == (Rope(500.0, "llama3", 8.0, 1.0, 4.0, 64),)


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({"model_type": "mistral", "sliding_window": 9}, (9, 9)),
        ({"model_type": "qwen2", "sliding_window": 5, "max_window_layers": 1}, None),
        (
            {
                "model_type": "qwen2",
                "sliding_window": 5,
                "max_window_layers": 1,
                "use_sliding_window": True,
            },
            (0, 5),
        ),
        ({"model_type": "qwen3", "layer_types": ["full_attention"] * 2}, None),
    ],
)
def test_windows_of_layers(changes, window, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(decoder_config(**changes)))
    assert read_architecture(tmp_path).layer_window == window
