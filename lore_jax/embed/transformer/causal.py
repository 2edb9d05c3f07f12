"""Causal decoders (Llama, Mistral, Qwen, Gemma): parameters, last hidden state of packed rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lore_jax.embed.transformer.architectures import Decoder
from lore_jax.embed.transformer.attention import PackedTokens, packed_attention
from lore_jax.embed.transformer.layers import Parameter, Params, activate, dense, rms_norm
from lore_jax.embed.transformer.rope import rotate


def decoder_parameters(model: Decoder) -> dict[str, Parameter]:
    """The arrays of a decoder, by the names that `decoder_hidden` uses."""
    dim, inner = model.dim, model.mlp_dim
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    layer = "layers.{}."
    table = {
        "embedding": Parameter("embed_tokens.weight", (model.vocabulary, dim), split=1),
        "final_norm": Parameter("norm.weight", (dim,)),
        "attention_norm": Parameter(layer + "input_layernorm.weight", (dim,)),
        "query": Parameter(layer + "self_attn.q_proj.weight", (queries, dim), split=0),
        "key": Parameter(layer + "self_attn.k_proj.weight", (keys, dim), split=0),
        "value": Parameter(layer + "self_attn.v_proj.weight", (keys, dim), split=0),
        "out": Parameter(layer + "self_attn.o_proj.weight", (dim, queries), split=1),
        "mlp_norm": Parameter(layer + "post_attention_layernorm.weight", (dim,)),
        "gate": Parameter(layer + "mlp.gate_proj.weight", (inner, dim), split=0),
        "up": Parameter(layer + "mlp.up_proj.weight", (inner, dim), split=0),
        "down": Parameter(layer + "mlp.down_proj.weight", (dim, inner), split=1),
    }
    if model.has_qkv_bias:
        for name, size in (("query", queries), ("key", keys), ("value", keys)):
            source = f"{layer}self_attn.{name[0]}_proj.bias"
            table[f"{name}_bias"] = Parameter(source, (size,), split=0)
    if model.has_qk_norm:
        table["query_norm"] = Parameter(layer + "self_attn.q_norm.weight", (model.head_dim,))
        table["key_norm"] = Parameter(layer + "self_attn.k_norm.weight", (model.head_dim,))
    if model.has_post_norms:
        table["post_attention_norm"] = Parameter(layer + "post_attention_layernorm.weight", (dim,))
        table["mlp_norm"] = Parameter(layer + "pre_feedforward_layernorm.weight", (dim,))
        table["post_mlp_norm"] = Parameter(layer + "post_feedforward_layernorm.weight", (dim,))
    if model.has_head:
        table["head"] = Parameter("score.weight", (1, dim))
    return table


def decoder_hidden(
    params: Params, tokens: PackedTokens, model: Decoder
) -> Float[jax.Array, "rows length dim"]:
    """The last hidden state, after the final norm: the input of a reward model's score head.

    Args:
        params: as `decoder_parameters` names them; the result has their type.
        tokens: packed rows.
        model: the architecture, static.
    """
    x = params.single["embedding"][tokens.token]
    x = x * jnp.asarray(model.embedding_scale, x.dtype)
    position = tokens.position[:, :, None].astype(jnp.float32)
    frequencies = [rope.frequencies(model.head_dim)[None, None] for rope in model.ropes]
    angles = jnp.stack([position * frequency for frequency in frequencies])
    windows = None
    if model.layer_window is not None:
        unlimited = np.iinfo(np.int32).max
        windows = jnp.asarray([window or unlimited for window in model.layer_window], jnp.int32)

    def norm(x: jax.Array, weight: jax.Array) -> jax.Array:
        return rms_norm(x, weight, model.norm_eps, model.norm_offset)

    def heads(x: jax.Array, layer: dict[str, jax.Array], name: str) -> jax.Array:
        flat = dense(x, layer[name], layer.get(f"{name}_bias"))
        split = flat.reshape(*flat.shape[:2], -1, model.head_dim)
        return norm(split, layer[f"{name}_norm"]) if f"{name}_norm" in layer else split

    def apply_layer(x: jax.Array, scanned: tuple) -> tuple[jax.Array, None]:
        layer, rope, window = scanned
        y = norm(x, layer["attention_norm"])
        attended = packed_attention(
            rotate(heads(y, layer, "query"), angles[rope]),
            rotate(heads(y, layer, "key"), angles[rope]),
            heads(y, layer, "value"),
            tokens,
            causal=True,
            scale=model.attention_scale,
            window=window,
            softcap=model.softcap,
        )
        y = dense(attended.reshape(*x.shape[:2], -1), layer["out"])
        x = x + (norm(y, layer["post_attention_norm"]) if model.has_post_norms else y)
        y = norm(x, layer["mlp_norm"])
        y = activate(dense(y, layer["gate"]), model.activation) * dense(y, layer["up"])
        y = dense(y, layer["down"])
        return x + (norm(y, layer["post_mlp_norm"]) if model.has_post_norms else y), None

    scanned = (params.layers, jnp.asarray(model.layer_rope, jnp.int32), windows)
    x, _ = jax.lax.scan(apply_layer, x, scanned)
    return norm(x, params.single["final_norm"])
