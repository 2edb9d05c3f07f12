"""The supported model families: what the forward passes need to know of a model.

A frozen, hashable dataclass for decoders and one for encoders hold all of it, so that they can be
static arguments of jit.
"""

from __future__ import annotations

import dataclasses

from lore_jax.embed.transformer.rope import Rope


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Transformer:
    """What both kinds of transformers have.

    Attributes:
        name: the architecture, as the file names it.
        vocabulary: number of tokens.
        dim: length of an embedding.
        layers: number of layers.
        heads: attention (query) heads.
        mlp_dim: width of the MLP.
        activation: of the MLP, or of its gate.
        norm_eps: added under the root of the norms.
        max_length: longest text, in tokens.
        pad_id: the padding token, at which a reward model's logit is never read, or None.
    """

    name: str
    vocabulary: int
    dim: int
    layers: int
    heads: int
    mlp_dim: int
    activation: str
    norm_eps: float
    max_length: int
    pad_id: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder(_Transformer):
    """A causal transformer with rotary positions, RMS norms and a gated MLP.

    Attributes:
        kv_heads: key and value heads.
        head_dim: length of one head.
        ropes: the distinct rotary frequencies.
        layer_rope: which of `ropes` each layer uses.
        layer_window: how many tokens back each layer attends to; 0: all. None: all in all layers.
        attention_scale: what the attention's dot products are multiplied by.
        softcap: cap of the attention logits, or None.
        has_qkv_bias: queries, keys and values have a bias (Qwen2).
        has_qk_norm: queries and keys are normalised per head (Qwen3, Gemma 3).
        has_post_norms: the outputs of attention and MLP are normalised too (Gemma).
        norm_offset: added to the stored weights of the norms (Gemma: 1).
        embedding_scale: what the token embeddings are multiplied by.
        has_head: the model has a score head: it is a reward model.
    """

    kv_heads: int
    head_dim: int
    ropes: tuple[Rope, ...]
    layer_rope: tuple[int, ...]
    layer_window: tuple[int, ...] | None
    attention_scale: float
    softcap: float | None
    has_qkv_bias: bool
    has_qk_norm: bool
    has_post_norms: bool
    norm_offset: float
    embedding_scale: float
    has_head: bool

    is_causal = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder(_Transformer):
    """A bidirectional transformer with learned positions and layer norms (BERT).

    Attributes:
        positions: number of learned positions.
        first_position: the position of a text's first token (RoBERTa counts from `pad_id + 1`).
        types: number of token types, of which only type 0 is used; 0: there are none (MPNet).
        buckets: number of buckets of distances, each with a bias of every head (MPNet); 0: none.
    """

    positions: int
    first_position: int
    types: int
    buckets: int = 0

    is_causal = False
    has_head = False


Architecture = Decoder | Encoder
