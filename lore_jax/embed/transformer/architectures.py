"""The supported model families, and what a Hugging Face `config.json` says of one model.

A frozen, hashable dataclass for decoders and one for encoders hold everything that the forward
passes need, so that they can be static arguments of jit. What a file asks for and the forward
passes do not do is refused here, by name.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lore_jax.embed.transformer.rope import Rope, read_rope

_DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text")
_ENCODERS = ("bert", "roberta", "xlm-roberta")
_SUPPORTED = (
    "Llama, Mistral, Qwen2, Qwen3, Gemma2 (...Model, ...ForCausalLM, "
    "...ForSequenceClassification), Gemma3 (text), Bert, Roberta, XLMRoberta (...Model, "
    "...ForMaskedLM)"
)
_ACTIVATIONS = {
    "gelu": "gelu",
    "silu": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "relu": "relu",
}


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A causal transformer with rotary positions and RMS norms.

    Attributes:
        name: the architecture, as the file names it.
        vocabulary: number of tokens.
        dim: length of an embedding.
        layers: number of layers.
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: length of one head.
        mlp_dim: width of the gated MLP.
        activation: of the gate: silu or gelu_tanh.
        norm_eps: added under the root of the RMS norms.
        max_length: longest text, in tokens.
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
        pad_id: the padding token, at which a reward model's logit is never read; None: no such
            token.
    """

    name: str
    vocabulary: int
    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_dim: int
    activation: str
    norm_eps: float
    max_length: int
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
    pad_id: int | None

    is_causal = True


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A bidirectional transformer with learned positions and layer norms (BERT).

    Attributes:
        name: the architecture, as the file names it.
        vocabulary: number of tokens.
        dim: length of an embedding.
        layers: number of layers.
        heads: attention heads.
        mlp_dim: width of the MLP.
        activation: of the MLP.
        norm_eps: added under the root of the layer norms.
        positions: number of learned positions.
        first_position: the position of a text's first token (RoBERTa counts from `pad_id + 1`).
        types: number of token types, of which only type 0 is used.
        max_length: longest text, in tokens.
        pad_id: the padding token.
    """

    name: str
    vocabulary: int
    dim: int
    layers: int
    heads: int
    mlp_dim: int
    activation: str
    norm_eps: float
    positions: int
    first_position: int
    types: int
    max_length: int
    pad_id: int | None

    is_causal = False
    has_head = False


Architecture = Decoder | Encoder


def read_architecture(folder: Path) -> Architecture:
    """Reads the `config.json` of a model's folder.

    Args:
        folder: an ordinary Hugging Face model folder.

    Returns:
        What the forward pass needs to know.

    Raises:
        FileNotFoundError: no such folder, or no config.json in it.
        ValueError: an architecture, or an option of it, that is not supported; the message lists
            those that are.

    Example:
        >>> read_architecture(Path("all-MiniLM-L6-v2")).dim  # doctest: +SKIP
        384
    """
    where = folder / "config.json"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder: a downloaded Hugging Face model folder is expected"
        )
    if not where.is_file():
        raise FileNotFoundError(
            f"{folder} has no config.json: a Hugging Face model folder is expected"
        )
    try:
        config = json.loads(where.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    names = config.get("architectures") or ["nothing"]
    model_type = config.get("model_type")
    # Refused for known families too: the code may change what the model computes.
    if "auto_map" in config:
        raise ValueError(
            f"{where} asks to run code from the folder, which is never done; "
            f"supported: {_SUPPORTED}"
        )
    try:
        if model_type in _DECODERS and names[0].endswith(
            ("Model", "ForCausalLM", "ForSequenceClassification")
        ):
            return _read_decoder(config, model_type, names[0], str(where))
        if model_type in _ENCODERS and names[0].endswith(("Model", "ForMaskedLM")):
            return _read_encoder(config, model_type, names[0], str(where))
    except KeyError as error:
        raise ValueError(f"{where} has no {error}") from None
    raise ValueError(
        f"{where} is for {names[0]} (model_type {model_type!r}); supported: {_SUPPORTED}"
    )


def _read_decoder(config: Mapping[str, Any], model_type: str, name: str, where: str) -> Decoder:
    is_gemma = model_type.startswith("gemma")
    has_head = name.endswith("ForSequenceClassification")
    for field in ("attention_bias", "mlp_bias", "use_bidirectional_attention"):
        if config.get(field):
            raise ValueError(f"{where} has {field} = {config[field]}, which is not supported")
    labels = len(config["id2label"]) if "id2label" in config else config.get("num_labels", 2)
    if has_head and labels != 1:
        raise ValueError(
            f"{where} has a score head of {labels} labels: a reward model with one is expected"
        )
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    dim = config["hidden_size"]
    head_dim = config.get("head_dim") or dim // heads
    ropes, layer_rope, layer_window = _read_layers(config, model_type, layers, where)
    activation = config.get("hidden_act", "silu")
    if is_gemma:
        activation = config.get("hidden_activation", "gelu_pytorch_tanh")
    return Decoder(
        name=name,
        vocabulary=config["vocab_size"],
        dim=dim,
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        mlp_dim=config["intermediate_size"],
        activation=_activation(activation, where),
        norm_eps=config["rms_norm_eps"],
        max_length=config["max_position_embeddings"],
        ropes=ropes,
        layer_rope=layer_rope,
        layer_window=layer_window,
        attention_scale=(config["query_pre_attn_scalar"] if is_gemma else head_dim) ** -0.5,
        softcap=config.get("attn_logit_softcapping"),
        has_qkv_bias=model_type == "qwen2",
        has_qk_norm=model_type in ("qwen3", "gemma3_text"),
        has_post_norms=is_gemma,
        norm_offset=1.0 if is_gemma else 0.0,
        embedding_scale=dim**0.5 if is_gemma else 1.0,
        has_head=has_head,
        pad_id=config.get("pad_token_id"),
    )


def _read_layers(
    config: Mapping[str, Any], model_type: str, layers: int, where: str
) -> tuple[tuple[Rope, ...], tuple[int, ...], tuple[int, ...] | None]:
    """`ropes`, `layer_rope` and `layer_window`, also as files before transformers 5 write them."""
    window = config.get("sliding_window", None if model_type == "llama" else 4096)
    if model_type in ("qwen2", "qwen3") and not config.get("use_sliding_window"):
        window = None
    if config.get("layer_types"):
        slides = [layer == "sliding_attention" for layer in config["layer_types"]]
        if len(slides) != layers:
            raise ValueError(f"{where} gives the types of {len(slides)} layers, and has {layers}")
        if unknown := sorted(set(config["layer_types"]) - {"sliding_attention", "full_attention"}):
            raise ValueError(
                f"{where} has layers of type {unknown[0]!r}: "
                "sliding_attention or full_attention is expected"
            )
    elif model_type == "gemma2":
        slides = [layer % 2 == 0 for layer in range(layers)]
    elif model_type == "gemma3_text":
        period = config.get("sliding_window_pattern", 6)
        slides = [(layer + 1) % period != 0 for layer in range(layers)]
    elif model_type in ("qwen2", "qwen3"):
        slides = [layer >= config.get("max_window_layers", layers) for layer in range(layers)]
    else:
        slides = [model_type == "mistral"] * layers
    windows = tuple(window if slide and window else 0 for slide in slides)
    layer_window = windows if any(windows) else None
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = config.get("rope_theta", 10_000.0)
    if model_type != "gemma3_text":
        return (read_rope(scaling, theta, where),), (0,) * layers, layer_window
    # Gemma 3: sliding layers have a smaller base than full ones, and only the latter are scaled.
    local = scaling.get("sliding_attention", {})
    full = scaling.get("full_attention", {} if local else scaling)
    ropes = (
        read_rope(full, config.get("rope_theta", 1_000_000.0), where),
        read_rope(local, config.get("rope_local_base_freq", 10_000.0), where),
    )
    return ropes, tuple(int(slide) for slide in slides), layer_window


def _read_encoder(config: Mapping[str, Any], model_type: str, name: str, where: str) -> Encoder:
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError(
            f"{where} has positions of type {config['position_embedding_type']!r}: "
            "'absolute' is expected"
        )
    pad_id = config.get("pad_token_id")
    first_position = 0 if model_type == "bert" else config["pad_token_id"] + 1
    return Encoder(
        name=name,
        vocabulary=config["vocab_size"],
        dim=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_dim=config["intermediate_size"],
        activation=_activation(config.get("hidden_act", "gelu"), where),
        norm_eps=config["layer_norm_eps"],
        positions=config["max_position_embeddings"],
        first_position=first_position,
        types=config["type_vocab_size"],
        max_length=config["max_position_embeddings"] - first_position,
        pad_id=pad_id,
    )


def _activation(name: str, where: str) -> str:
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"{where} has the activation {name!r}: supported are {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]
