"""The forward passes against PyTorch with transformers, on tiny random models of each family."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.tiny_model import write_tokenizer
from lore_jax.embed.text_encoder import Chunk, EmbedConfig, embed_chunks, load_encoder, own_logits

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's import is not ours to keep clean
    torch = pytest.importorskip("torch")

VOCABULARY, PAD = 96, 95
DECODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "pad_token_id": PAD,
    "num_labels": 1,
    "tie_word_embeddings": False,
}
ENCODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
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
ENCODERS = {
    "bert": ("Bert", {}),
    "roberta": ("Roberta", {"pad_token_id": 1, "type_vocab_size": 1}),
    "xlm-roberta": ("XLMRoberta", {"pad_token_id": 1, "type_vocab_size": 1}),
}


def save(folder, model, dtype):
    torch.manual_seed(0)
    for (
        parameter
    ) in model.parameters():  # the usual initialisation is too small for anything to matter
        torch.nn.init.normal_(parameter, std=0.25)
    model.eval().to(dtype).save_pretrained(folder)
    write_tokenizer(folder)
    return model


def sequences(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, PAD, size=length).astype(np.int32) for length in lengths]


def padded(texts, pad, left):
    longest = max(map(len, texts))
    ids, mask = (
        np.full((len(texts), longest), pad, np.int64),
        np.zeros((len(texts), longest), np.int64),
    )
    for row, text in enumerate(texts):
        span = slice(longest - len(text), None) if left else slice(len(text))
        ids[row, span], mask[row, span] = text, 1
    return torch.tensor(ids), torch.tensor(mask)


def embed(folder, texts, dtype="float32"):
    encoder = load_encoder(
        folder, EmbedConfig(dtype=dtype, batch_tokens=64), devices=jax.devices()[:1]
    )
    (table,) = embed_chunks(encoder, [Chunk(texts, [0] * len(texts))])
    return encoder, table


def make_decoder(family, changes):
    import transformers

    config = getattr(transformers, f"{family}Config")(**(DECODER | changes))
    return getattr(transformers, f"{family}ForSequenceClassification")(config)


def torch_reward(model, texts, left):
    ids, mask = padded(texts, PAD, left)
    with torch.no_grad():
        hidden = model.base_model(ids, attention_mask=mask).last_hidden_state
        last = -1 if left else mask.sum(1) - 1
        logits = model(ids, attention_mask=mask).logits[:, 0]
    return hidden[torch.arange(len(texts)), last].float().numpy(), logits.float().numpy()


@pytest.mark.parametrize("name", FAMILIES)
def test_decoder_equals_torch(name, tmp_path):
    model = save(tmp_path, make_decoder(*FAMILIES[name]), torch.float32)
    texts = sequences([3, 40, 16, 64, 1, 50])
    encoder, table = embed(tmp_path, texts)
    own = own_logits(encoder, texts)
    for left in (False, True):
        embeddings, logits = torch_reward(model, texts, left)
        # Three layers of float32 products in another order, values of about 1.
        np.testing.assert_allclose(table, embeddings, atol=2e-5)
        np.testing.assert_allclose(table @ encoder.head, logits, atol=5e-5)
        np.testing.assert_allclose(own, logits, atol=5e-5)


@pytest.mark.parametrize("name", ["llama 3", "gemma 3"])
def test_decoder_in_bfloat16_is_as_close_to_the_truth_as_torch(name, tmp_path):
    model = save(tmp_path, make_decoder(*FAMILIES[name]), torch.bfloat16)
    texts = sequences([3, 40, 16, 64])
    encoder, table = embed(tmp_path, texts, dtype=None)
    assert encoder.dtype == jnp.bfloat16
    ours = embed(tmp_path, texts, "float32")[1]
    theirs, _ = torch_reward(model, texts, False)
    truth, _ = torch_reward(
        type(model).from_pretrained(tmp_path, dtype=torch.float32), texts, False
    )
    np.testing.assert_allclose(ours, truth, atol=5e-5)
    # Both round at the same places but not in the same order: neither may be much the worse.
    assert np.abs(table - truth).mean() < 1.25 * np.abs(theirs - truth).mean()
    assert np.abs(table - truth).max() < 2 * np.abs(theirs - truth).max()


@pytest.mark.parametrize("kind", ["mean", "cls"])
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_equals_torch(name, kind, tmp_path):
    import transformers

    family, changes = ENCODERS[name]
    config = getattr(transformers, f"{family}Config")(**(ENCODER | changes))
    model = save(tmp_path, getattr(transformers, f"{family}Model")(config), torch.float32)
    modules = [
        {"path": "", "type": "Transformer"},
        {"path": "1_Pooling", "type": "a.Pooling"},
        {"path": "", "type": "Normalize"},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": kind}))
    texts = sequences([3, 40, 16, 64, 2])
    _, table = embed(tmp_path, texts)
    ids, mask = padded(texts, config.pad_token_id, left=False)
    with torch.no_grad():
        hidden = model(ids, attention_mask=mask).last_hidden_state
    pooled = (
        (hidden * mask[..., None]).sum(1) / mask.sum(1)[:, None] if kind == "mean" else hidden[:, 0]
    )
    expected = torch.nn.functional.normalize(pooled).numpy()
    np.testing.assert_allclose(table, expected, atol=2e-6)


def test_old_and_new_spelling_of_rope_agree(tmp_path):
    save(tmp_path, make_decoder("Llama", {"rope_parameters": LLAMA3}), torch.float32)
    texts = sequences([50])
    _, new = embed(tmp_path, texts)
    config = json.loads((tmp_path / "config.json").read_text())
    parameters = config.pop("rope_parameters")
    config |= {"rope_theta": parameters.pop("rope_theta"), "rope_scaling": parameters}
    (tmp_path / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(embed(tmp_path, texts)[1], new)


def test_end_of_turn_that_is_the_padding_token(tmp_path):
    # Hugging Face reads the reward at the last token that is not the padding token, even inside a
    # text.
    model = save(tmp_path, make_decoder("Qwen2", {}), torch.float32)
    texts = [np.append(text, [PAD, PAD]) for text in sequences([9, 30])]
    encoder, table = embed(tmp_path, texts)
    ids, mask = padded(texts, PAD, left=False)
    with torch.no_grad():
        logits = model(ids, attention_mask=mask).logits[:, 0].numpy()
    np.testing.assert_allclose(table @ encoder.head, logits, atol=5e-5)
