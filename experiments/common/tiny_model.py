"""Tiny random models as ordinary Hugging Face folders, written with NumPy and tokenizers alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast
from lore_jax.embed.tokenizer import quiet_import

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|end|>"
    "{% endfor %}"
)
SPECIAL = ["<|bos|>", "<|start|>", "<|end|>", "<|pad|>"]
VOCABULARY = 256 + len(SPECIAL)


def write_tokenizer(folder: Path, template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: a token a byte, and the special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    with quiet_import():
        from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = Tokenizer(
        models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[])
    )
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare,
        bos_token="<|bos|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        model_max_length=10**6,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|start|>"]})
    tokenizer.chat_template = template
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    return tokenizer


def decoder_config(**changes: object) -> dict[str, Any]:
    """The `config.json` of a tiny Llama reward model."""
    return {
        "architectures": ["LlamaForSequenceClassification"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512,
        "rope_theta": 10000.0,
        "id2label": {"0": "reward"},
        "pad_token_id": VOCABULARY - 1,
    } | changes


def decoder_weights(
    config: Mapping[str, Any], seed: int = 0, scale: float = 0.3
) -> dict[str, np.ndarray]:
    """Random weights of such a model."""
    rng = np.random.default_rng(seed)
    dim, inner = config["hidden_size"], config["intermediate_size"]
    keys = dim // config["num_attention_heads"] * config["num_key_value_heads"]

    def normal(*shape: int) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": normal(config["vocab_size"], dim),
        "model.norm.weight": 1 + normal(dim),
        "score.weight": normal(1, dim),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        weights |= {
            prefix + "input_layernorm.weight": 1 + normal(dim),
            prefix + "post_attention_layernorm.weight": 1 + normal(dim),
            prefix + "self_attn.q_proj.weight": normal(dim, dim),
            prefix + "self_attn.k_proj.weight": normal(keys, dim),
            prefix + "self_attn.v_proj.weight": normal(keys, dim),
            prefix + "self_attn.o_proj.weight": normal(dim, dim),
            prefix + "mlp.gate_proj.weight": normal(inner, dim),
            prefix + "mlp.up_proj.weight": normal(inner, dim),
            prefix + "mlp.down_proj.weight": normal(dim, inner),
        }
    return weights


def write_sentence_encoder(folder: Path, **changes: object) -> Path:
    """A Llama sentence encoder as sentence-transformers lay it out: mean pooling, unit norm."""
    folder.mkdir(parents=True, exist_ok=True)
    config = decoder_config(architectures=["LlamaModel"], **changes)
    weights = decoder_weights(config)
    del weights["score.weight"]
    (folder / "config.json").write_text(json.dumps(config))
    modules = [
        {"type": f"sentence_transformers.models.{name}", "path": name}
        for name in ("Pooling", "Normalize")
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "Pooling").mkdir(exist_ok=True)
    (folder / "Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    write_tokenizer(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_reward_model(
    folder: Path, *, template: str = TEMPLATE, shards: int = 1, **changes: object
) -> Path:
    """A Llama reward model; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = decoder_config(**changes)
    (folder / "config.json").write_text(json.dumps(config))
    weights = decoder_weights(config)
    write_tokenizer(folder, template)
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names, weight_map = list(weights), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: weights[name] for name in names[shard::shards]}
        save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder
