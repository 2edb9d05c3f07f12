"""Encoders against NumPy, and each family against PyTorch with transformers."""

import dataclasses
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
import torch_oracle

from lore_jax.embed.transformer.architectures import Encoder
from lore_jax.embed.transformer.attention import PackedTokens
from lore_jax.embed.transformer.bidirectional import encoder_hidden, encoder_parameters
from lore_jax.embed.transformer.layers import (
    Params,
)

ENCODER = {
    "vocab_size": torch_oracle.VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}


ENCODERS = {
    "bert": ("Bert", {}),
    "roberta": ("Roberta", {"pad_token_id": 1, "type_vocab_size": 1}),
    "xlm-roberta": ("XLMRoberta", {"pad_token_id": 1, "type_vocab_size": 1}),
    "mpnet": ("MPNet", {"pad_token_id": 1, "relative_attention_num_buckets": 32}),
}


MODEL = Encoder(
    name="BertModel",
    vocabulary=50,
    dim=16,
    layers=2,
    heads=4,
    mlp_dim=24,
    activation="gelu",
    norm_eps=1e-6,
    positions=40,
    first_position=2,
    types=2,
    max_length=38,
    pad_id=0,
)
MPNET = dataclasses.replace(MODEL, name="MPNetModel", types=0, buckets=8)


def bucket(distance):
    """Of 8 buckets, by the rule of the T5 paper: 4 before and 4 after, 2 of each exact."""
    size = abs(distance)
    far = 2 + int(math.log(max(size, 1) / 2) / math.log(128 / 2) * 2)
    return (4 if distance > 0 else 0) + (size if size < 2 else min(far, 3))


def numpy_encoder(model, params, ids):
    """The last hidden state of one text, float64, written out from the definition of the model."""
    single = {name: np.asarray(array, np.float64) for name, array in params.single.items()}

    def norm(x, weight, bias):
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + model.norm_eps)
        return centred / scale * weight + bias

    x = single["embedding"][ids] + single["positions"][2 + np.arange(len(ids))]
    if model.types:
        x = x + single["types"][0]
    x = norm(x, single["embedding_norm"], single["embedding_norm_bias"])
    for number in range(model.layers):
        layer = {name: np.asarray(a[number], np.float64) for name, a in params.layers.items()}

        def affine(x, name, layer=layer):
            return x @ layer[name].T + layer[f"{name}_bias"]

        heads = [affine(x, name).reshape(len(ids), 4, 4) for name in ("query", "key", "value")]
        logits = np.einsum("qhd,khd->hqk", *heads[:2]) / 2.0
        if model.buckets:
            steps = range(len(ids))
            biases = [[single["distances"][bucket(k - q)] for k in steps] for q in steps]
            logits += np.moveaxis(np.array(biases), 2, 0)
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        attended = np.einsum("hqk,khd->qhd", shares, heads[2]).reshape(len(ids), 16)
        x = x + affine(attended, "out")
        x = norm(x, layer["attention_norm"], layer["attention_norm_bias"])
        y = affine(x, "up")
        y = 0.5 * y * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
        x = norm(x + affine(y, "down"), layer["mlp_norm"], layer["mlp_norm_bias"])
    return x


@pytest.mark.parametrize("model", [MODEL, MPNET], ids=["bert", "mpnet"])
def test_packed_texts_against_numpy(model):
    rng = np.random.default_rng(0)
    params = Params(single={}, layers={})
    for name, parameter in encoder_parameters(model).items():
        shape = (model.layers, *parameter.shape) if parameter.is_layered else parameter.shape
        array = jnp.asarray(rng.normal(scale=0.4, size=shape), jnp.float32)
        (params.layers if parameter.is_layered else params.single)[name] = array
    texts = [rng.integers(1, 50, size=length) for length in (9, 4, 17)]
    tokens = PackedTokens(*np.zeros((4, 1, 32), np.int32))
    tokens.item[:] = -1
    spans, start = [], 0
    for number, ids in enumerate(texts):
        spans.append(slice(start, start + len(ids)))
        tokens.token[0, spans[-1]] = ids
        tokens.position[0, spans[-1]] = np.arange(len(ids))
        tokens.item[0, spans[-1]] = number
        start += len(ids)
    hidden = np.asarray(encoder_hidden(params, PackedTokens(*map(jnp.asarray, tokens)), model))
    for ids, span in zip(texts, spans, strict=True):
        np.testing.assert_allclose(hidden[0, span], numpy_encoder(model, params, ids), atol=2e-5)


@pytest.mark.parametrize("kind", ["mean", "cls"])
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_equals_torch(name, kind, tmp_path):
    torch = torch_oracle.import_torch()
    import transformers

    family, changes = ENCODERS[name]
    config = getattr(transformers, f"{family}Config")(**(ENCODER | changes))
    model = torch_oracle.save(
        tmp_path, getattr(transformers, f"{family}Model")(config), torch.float32
    )
    modules = [
        {"path": "", "type": "Transformer"},
        {"path": "1_Pooling", "type": "a.Pooling"},
        {"path": "", "type": "Normalize"},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": kind}))
    texts = torch_oracle.sequences([3, 40, 16, 64, 2])
    _, table = torch_oracle.embed(tmp_path, texts)
    ids, mask = torch_oracle.padded(texts, config.pad_token_id, left=False)
    with torch.no_grad():
        hidden = model(ids, attention_mask=mask).last_hidden_state
    pooled = (
        (hidden * mask[..., None]).sum(1) / mask.sum(1)[:, None] if kind == "mean" else hidden[:, 0]
    )
    expected = torch.nn.functional.normalize(pooled).numpy()
    np.testing.assert_allclose(table, expected, atol=2e-6)
