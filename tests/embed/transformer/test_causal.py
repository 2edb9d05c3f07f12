"""Decoders against NumPy, and each family against PyTorch with transformers."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch_oracle
from safetensors.numpy import load_file

from experiments.common.tiny_model import (
    decoder_config,
    decoder_weights,
)
from lore_jax.embed import embed_texts
from lore_jax.embed.forward import own_logits
from lore_jax.embed.transformer.causal import decoder_parameters
from lore_jax.embed.transformer.config_file import read_architecture

DECODER = {
    "vocab_size": torch_oracle.VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "pad_token_id": torch_oracle.PAD,
    "num_labels": 1,
    "tie_word_embeddings": False,
}


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]


GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 12, "sliding_window": 7, "layer_types": SLIDING}


# name: family, changes to the configuration
FAMILIES = {
    "llama": ("Llama", {}),
    "llama, linear rope": (
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
    ),
    "llama 3": ("Llama", {"rope_parameters": LLAMA3}),
    "mistral, window": ("Mistral", {"sliding_window": 9, "head_dim": 16}),
    "qwen 2": ("Qwen2", {}),
    "qwen 2, window": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    ),
    "qwen 3": ("Qwen3", {"head_dim": 16}),
    "gemma 2": ("Gemma2", GEMMA | {"attn_logit_softcapping": 2.0}),
    "gemma 3": ("Gemma3Text", GEMMA),
}


def numpy_llama(weights, ids, config):
    """The last hidden state of one text, float64, written out from the definition of the model."""
    weights = {name: array.astype(np.float64) for name, array in weights.items()}
    dim, heads, kv_heads = (
        config["hidden_size"],
        config["num_attention_heads"],
        config["num_key_value_heads"],
    )
    head_dim = dim // heads

    def norm(x, weight):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weight

    def turn(x):
        angle = np.arange(len(ids))[:, None] / config["rope_theta"] ** (
            np.arange(0, head_dim, 2) / head_dim
        )
        pair = x[..., : head_dim // 2] + 1j * x[..., head_dim // 2 :]
        pair = pair * np.exp(1j * angle)[:, None]
        return np.concatenate([pair.real, pair.imag], -1)

    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(config["num_hidden_layers"]):
        w = {
            name.split(f"layers.{layer}.")[-1]: array
            for name, array in weights.items()
            if f"layers.{layer}." in name
        }
        y = norm(x, w["input_layernorm.weight"])
        query = turn((y @ w["self_attn.q_proj.weight"].T).reshape(len(ids), heads, head_dim))
        key = turn((y @ w["self_attn.k_proj.weight"].T).reshape(len(ids), kv_heads, head_dim))
        value = (y @ w["self_attn.v_proj.weight"].T).reshape(len(ids), kv_heads, head_dim)
        out = np.zeros((len(ids), heads, head_dim))
        for head in range(heads):
            group = head // (heads // kv_heads)
            for token in range(len(ids)):
                logits = key[: token + 1, group] @ query[token, head] / np.sqrt(head_dim)
                share = np.exp(logits - logits.max())
                out[token, head] = share / share.sum() @ value[: token + 1, group]
        x = x + out.reshape(len(ids), dim) @ w["self_attn.o_proj.weight"].T
        y = norm(x, w["post_attention_layernorm.weight"])
        gate = y @ w["mlp.gate_proj.weight"].T
        x = (
            x
            + (gate / (1 + np.exp(-gate)) * (y @ w["mlp.up_proj.weight"].T))
            @ w["mlp.down_proj.weight"].T
        )
    return norm(x, weights["model.norm.weight"])


def test_reward_model_against_numpy(reward, conversations):
    texts = conversations[:8]
    table = embed_texts(texts, reward)
    config = decoder_config()
    for row, text in zip(table, texts, strict=True):
        (ids,) = reward.renderer.token_ids([reward.renderer.tokenizer.render_chat(text)])
        np.testing.assert_allclose(
            row, numpy_llama(decoder_weights(config), ids, config)[-1], atol=2e-5
        )


def make_decoder(family, changes):
    import transformers

    config = getattr(transformers, f"{family}Config")(**(DECODER | changes))
    return getattr(transformers, f"{family}ForSequenceClassification")(config)


def torch_reward(model, texts, left):
    torch = torch_oracle.import_torch()
    ids, mask = torch_oracle.padded(texts, torch_oracle.PAD, left)
    with torch.no_grad():
        hidden = model.base_model(ids, attention_mask=mask).last_hidden_state
        last = -1 if left else mask.sum(1) - 1
        logits = model(ids, attention_mask=mask).logits[:, 0]
    return hidden[torch.arange(len(texts)), last].float().numpy(), logits.float().numpy()


@pytest.mark.parametrize("name", FAMILIES)
def test_decoder_equals_torch(name, tmp_path):
    torch = torch_oracle.import_torch()
    model = torch_oracle.save(tmp_path, make_decoder(*FAMILIES[name]), torch.float32)
    texts = torch_oracle.sequences([3, 40, 16, 64, 1, 50])
    encoder, table = torch_oracle.embed(tmp_path, texts)
    own = own_logits(encoder, texts)
    for left in (False, True):
        embeddings, logits = torch_reward(model, texts, left)
        # Three layers of float32 products in another order, values of about 1.
        np.testing.assert_allclose(table, embeddings, atol=2e-5)
        np.testing.assert_allclose(table @ encoder.head, logits, atol=5e-5)
        np.testing.assert_allclose(own, logits, atol=5e-5)


@pytest.mark.parametrize("name", ["llama 3", "gemma 3"])
def test_decoder_in_bfloat16_is_as_close_to_the_truth_as_torch(name, tmp_path):
    torch = torch_oracle.import_torch()
    model = torch_oracle.save(tmp_path, make_decoder(*FAMILIES[name]), torch.bfloat16)
    texts = torch_oracle.sequences([3, 40, 16, 64])
    encoder, table = torch_oracle.embed(tmp_path, texts, dtype=None)
    assert encoder.dtype == jnp.bfloat16
    ours = torch_oracle.embed(tmp_path, texts, "float32")[1]
    theirs, _ = torch_reward(model, texts, False)
    truth, _ = torch_reward(
        type(model).from_pretrained(tmp_path, dtype=torch.float32), texts, False
    )
    np.testing.assert_allclose(ours, truth, atol=5e-5)
    # Both round at the same places but not in the same order: neither may be much the worse.
    assert np.abs(table - truth).mean() < 1.25 * np.abs(theirs - truth).mean()
    assert np.abs(table - truth).max() < 2 * np.abs(theirs - truth).max()


def test_end_of_turn_that_is_the_padding_token(tmp_path):
    torch = torch_oracle.import_torch()
    # Hugging Face reads the reward at the last token that is not the padding token, even inside a
    # text.
    model = torch_oracle.save(tmp_path, make_decoder("Qwen2", {}), torch.float32)
    texts = [
        np.append(text, [torch_oracle.PAD, torch_oracle.PAD])
        for text in torch_oracle.sequences([9, 30])
    ]
    encoder, table = torch_oracle.embed(tmp_path, texts)
    ids, mask = torch_oracle.padded(texts, torch_oracle.PAD, left=False)
    with torch.no_grad():
        logits = model(ids, attention_mask=mask).logits[:, 0].numpy()
    np.testing.assert_allclose(table @ encoder.head, logits, atol=5e-5)


def test_every_array_is_named_once(reward_folder):
    table = decoder_parameters(read_architecture(reward_folder))
    sources = [parameter.source for parameter in table.values()]
    assert len(set(sources)) == len(sources)
    stored = load_file(reward_folder / "model.safetensors")
    names = {source.format(0) for source in sources}
    assert {name.removeprefix("model.") for name in stored if "layers.1." not in name} == names
