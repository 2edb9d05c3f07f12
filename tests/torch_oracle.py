"""Tiny random models of transformers in PyTorch: an oracle for the forward passes."""

import warnings

import jax
import numpy as np
import pytest

from experiments.common.tiny_model import write_tokenizer
from lore_jax.embed.forward import Chunk, embed_chunks
from lore_jax.embed.text_encoder import EmbedConfig, load_encoder

VOCABULARY, PAD = 96, 95


def import_torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own import
        return pytest.importorskip("torch")


def save(folder, model, dtype):
    torch = import_torch()
    torch.manual_seed(0)
    # With the usual initialisation most parts would hardly change the result.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    model.eval().to(dtype).save_pretrained(folder)
    write_tokenizer(folder)
    return model


def sequences(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, PAD, size=length).astype(np.int32) for length in lengths]


def padded(texts, pad, left):
    torch = import_torch()
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
