"""Bidirectional encoders (BERT, RoBERTa, MPNet): parameters, and the last hidden state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lore_jax.embed.transformer.architectures import Encoder
from lore_jax.embed.transformer.attention import PackedTokens, packed_attention
from lore_jax.embed.transformer.layers import Parameter, Params, activate, dense, layer_norm

# MPNet: distances from here on share the last bucket, whatever the number of buckets.
_FARTHEST = 128

# What MPNet calls the parts of a layer that BERT calls otherwise.
_MPNET_NAMES = {
    "attention.self.query": "attention.attn.q",
    "attention.self.key": "attention.attn.k",
    "attention.self.value": "attention.attn.v",
    "attention.output.dense": "attention.attn.o",
    "attention.output.LayerNorm": "attention.LayerNorm",
}


def encoder_parameters(model: Encoder) -> dict[str, Parameter]:
    """The arrays of an encoder, by the names that `encoder_hidden` uses."""
    dim, inner = model.dim, model.mlp_dim
    embeddings, layer = "embeddings.", "encoder.layer.{}."
    table = {
        "embedding": Parameter(embeddings + "word_embeddings.weight", (model.vocabulary, dim), 1),
        "positions": Parameter(embeddings + "position_embeddings.weight", (model.positions, dim)),
    }
    if model.types:
        source = embeddings + "token_type_embeddings.weight"
        table["types"] = Parameter(source, (model.types, dim))
    if model.buckets:
        source = "encoder.relative_attention_bias.weight"
        table["distances"] = Parameter(source, (model.buckets, model.heads))
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
        if model.buckets:
            part = source.removeprefix(layer)
            source = source.removesuffix(part) + _MPNET_NAMES.get(part, part)
        table[name] = Parameter(source + ".weight", shape, split)
        table[f"{name}_bias"] = Parameter(source + ".bias", shape[:1], 0 if split == 0 else None)
    return table


def distance_buckets(buckets: int) -> Int[np.ndarray, " distances"]:
    """The bucket of each distance between two tokens, from -128 to 128: key minus query.

    Half of the buckets are for keys before the query, half for those after it. In each half, the
    first half is for one distance each, the rest for distances that grow geometrically to 128:

        bucket = h + floor(h log(|d| / h) / log(128 / h)),   h = buckets / 4,   at most 2 h - 1

    Reference:
        Raffel et al. 2020, arXiv 1910.10683, section 2.1; Song et al. 2020, arXiv 2004.09297.

    Example:
        >>> distance_buckets(32)[128 + np.array([-20, -1, 0, 1, 7, 8, 128])].tolist()
        [10, 1, 0, 17, 23, 24, 31]
    """
    distance = np.arange(-_FARTHEST, _FARTHEST + 1)
    half, near = buckets // 2, buckets // 4
    size = np.abs(distance)
    # In float32, as the models were trained: a distance on a bucket's edge falls as it did there.
    ratio = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(near))
    far = near + (ratio / np.float32(np.log(_FARTHEST / near)) * (half - near)).astype(int)
    return np.where(size < near, size, np.minimum(far, half - 1)) + half * (distance > 0)


def encoder_hidden(
    params: Params, tokens: PackedTokens, model: Encoder
) -> Float[jax.Array, "rows length dim"]:
    """The last hidden state; arguments and result as of `decoder_hidden`."""
    position = tokens.position + model.first_position
    single = params.single
    x = single["embedding"][tokens.token] + single["positions"][position]
    if model.types:
        x = x + single["types"][0][None, None]
    by_distance = None
    if model.buckets:
        by_distance = single["distances"][jnp.asarray(distance_buckets(model.buckets))]
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
        settings = {"causal": False, "scale": head_dim**-0.5, "by_distance": by_distance}
        attended = packed_attention(query, key, value, tokens, **settings)
        x = norm(x + affine(attended.reshape(x.shape), "out"), "attention_norm")
        y = activate(affine(x, "up"), model.activation)
        return norm(x + affine(y, "down"), "mlp_norm"), None

    x, _ = jax.lax.scan(apply_layer, x, params.layers)
    return x
