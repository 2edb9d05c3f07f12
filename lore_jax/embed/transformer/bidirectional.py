"""Bidirectional encoders (BERT, RoBERTa): parameters, and the last hidden state of packed rows."""

from __future__ import annotations

import jax
from jaxtyping import Float

from lore_jax.embed.transformer.architectures import Encoder
from lore_jax.embed.transformer.attention import PackedTokens, packed_attention
from lore_jax.embed.transformer.layers import Parameter, Params, activate, dense, layer_norm


def encoder_parameters(model: Encoder) -> dict[str, Parameter]:
    """The arrays of an encoder, by the names that `encoder_hidden` uses."""
    dim, inner = model.dim, model.mlp_dim
    embeddings, layer = "embeddings.", "encoder.layer.{}."
    table = {
        "embedding": Parameter(embeddings + "word_embeddings.weight", (model.vocabulary, dim), 1),
        "positions": Parameter(embeddings + "position_embeddings.weight", (model.positions, dim)),
        "types": Parameter(embeddings + "token_type_embeddings.weight", (model.types, dim)),
    }
    with_bias = {
        "embedding_norm": (embeddings + "LayerNorm", (dim,), None),
        "query": (layer + "attention.self.query", (dim, dim), 0),
        "key": (layer + "attention.self.key", (dim, dim), 0),
        "value": (layer + "attention.self.value", (dim, dim), 0),
        "out": (layer + "attention.output.dense", (dim, dim), 1),
        "up": (layer + "intermediate.dense", (inner, dim), 0),
        "down": (layer + "output.dense", (dim, inner), 1),
        "attention_norm": (layer + "attention.output.LayerNorm", (dim,), None),
        "mlp_norm": (layer + "output.LayerNorm", (dim,), None),
    }
    for name, (source, shape, split) in with_bias.items():
        table[name] = Parameter(source + ".weight", shape, split)
        table[f"{name}_bias"] = Parameter(source + ".bias", shape[:1], 0 if split == 0 else None)
    return table


def encoder_hidden(
    params: Params, tokens: PackedTokens, model: Encoder
) -> Float[jax.Array, "rows length dim"]:
    """The last hidden state; arguments and result as of `decoder_hidden`."""
    position = tokens.position + model.first_position
    single = params.single
    x = single["embedding"][tokens.token] + single["positions"][position]
    x = x + single["types"][0][None, None]
    x = layer_norm(x, single["embedding_norm"], single["embedding_norm_bias"], model.norm_eps)
    head_dim = model.dim // model.heads

    def apply_layer(x: jax.Array, layer: dict[str, jax.Array]) -> tuple[jax.Array, None]:
        def affine(x: jax.Array, name: str) -> jax.Array:
            return dense(x, layer[name], layer[f"{name}_bias"])

        def norm(x: jax.Array, name: str) -> jax.Array:
            return layer_norm(x, layer[name], layer[f"{name}_bias"], model.norm_eps)

        query, key, value = (
            affine(x, name).reshape(*x.shape[:2], model.heads, head_dim)
            for name in ("query", "key", "value")
        )
        attended = packed_attention(query, key, value, tokens, causal=False, scale=head_dim**-0.5)
        x = norm(x + affine(attended.reshape(x.shape), "out"), "attention_norm")
        y = activate(affine(x, "up"), model.activation)
        return norm(x + affine(y, "down"), "mlp_norm"), None

    x, _ = jax.lax.scan(apply_layer, x, params.layers)
    return x
