"""Reads the `config.json` of a Hugging Face model's folder: which architecture, of which sizes.

What a file asks for and the forward passes do not do is refused here, by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

from lore_jax.embed.transformer.architectures import Architecture, Decoder, Encoder
from lore_jax.embed.transformer.rope import Rope, read_rope
from lore_jax.storage.json_fields import Between, check_fields

_DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text")
_DECODER_CLASSES = ("Model", "ForCausalLM", "ForSequenceClassification")
_ENCODERS = ("bert", "roberta", "xlm-roberta", "mpnet")
_ENCODER_CLASSES = ("Model", "ForMaskedLM")
_SUPPORTED = (
    "Llama, Mistral, Qwen2, Qwen3, Gemma2 (...Model, ...ForCausalLM, "
    "...ForSequenceClassification), Gemma3 (text), Bert, Roberta, XLMRoberta, MPNet "
    "(...Model, ...ForMaskedLM)"
)
_ACTIVATIONS = {"gelu": "gelu", "silu": "silu", "relu": "relu"}
_ACTIVATIONS |= dict.fromkeys(("gelu_pytorch_tanh", "gelu_new"), "gelu_tanh")

# The largest published models have a few hundred layers and some 10^5 tokens and columns. What is
# beyond these bounds is no model, and is refused before memory is taken for it.
_Layers = Annotated[int, Between(1, 10_000)]
_Size = Annotated[int, Between(1, 10**8)]
_Number = Annotated[int, Between(0, 2**31 - 1)]


class _RopeFields(TypedDict, total=False):
    """Of rotary positions, in `rope_parameters` or `rope_scaling`."""

    rope_type: str
    type: str
    rope_theta: float
    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: _Size
    partial_rotary_factor: float
    sliding_attention: "_RopeFields"
    full_attention: "_RopeFields"


class _Fields(TypedDict, total=False):
    """The fields of a config.json that are read, where they are there."""

    architectures: list[str] | None
    model_type: str | None
    num_hidden_layers: _Layers
    num_attention_heads: _Size
    num_key_value_heads: _Size | None
    hidden_size: _Size
    head_dim: _Size | None
    vocab_size: _Size
    intermediate_size: _Size
    type_vocab_size: _Size
    max_position_embeddings: _Size
    pad_token_id: Annotated[int, Between(-1, 2**31 - 1)] | None
    id2label: dict[str, Any]
    num_labels: _Number
    hidden_act: str
    hidden_activation: str | None
    rms_norm_eps: float
    layer_norm_eps: float
    position_embedding_type: str
    query_pre_attn_scalar: float
    attn_logit_softcapping: float | None
    sliding_window: _Number | None
    sliding_window_pattern: _Layers
    max_window_layers: _Number
    use_sliding_window: bool | None
    layer_types: list[str] | None
    rope_theta: float
    rope_local_base_freq: float
    rope_parameters: _RopeFields | None
    rope_scaling: _RopeFields | None


def read_architecture(folder: Path) -> Architecture:
    """Reads the `config.json` of a model's folder.

    Args:
        folder: an ordinary Hugging Face model folder.

    Returns:
        What the forward pass needs to know.

    Raises:
        FileNotFoundError: no such folder, or no config.json in it.
        ValueError: an architecture, or an option of it, that is not supported.

    Example:
        >>> read_architecture(Path("all-MiniLM-L6-v2")).dim  # doctest: +SKIP
        384
    """
    where = folder / "config.json"
    if not folder.is_dir():
        expected = "a downloaded Hugging Face model folder is expected"
        raise FileNotFoundError(f"{folder} is not a folder: {expected}")
    if not where.is_file():
        expected = "a Hugging Face model folder is expected"
        raise FileNotFoundError(f"{folder} has no config.json: {expected}")
    config = read_json(where)
    check_fields(config, _Fields, str(where))
    name = (config.get("architectures") or ["nothing"])[0]
    model_type = config.get("model_type")
    file = _ConfigFile(config, model_type, name, str(where))
    # Refused for known families too: the code may change what the model computes.
    if "auto_map" in config:
        problem = "asks to run code from the folder, which is never done"
        raise ValueError(f"{where} {problem}; supported: {_SUPPORTED}")
    try:
        if model_type in _DECODERS and name.endswith(_DECODER_CLASSES):
            return _read_decoder(file)
        if model_type in _ENCODERS and name.endswith(_ENCODER_CLASSES):
            return _read_encoder(file)
    except KeyError as error:
        raise ValueError(f"{where} has no {error}") from None
    raise ValueError(f"{where} is for {name} (model_type {model_type!r}); supported: {_SUPPORTED}")


def read_json(path: Path) -> Any:
    """What a JSON file of a model's folder holds."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


class _ConfigFile(NamedTuple):
    """A config.json: its fields, two of them by themselves, and where it is."""

    fields: Mapping[str, Any]
    model_type: str
    name: str
    where: str


def _read_common(file: _ConfigFile) -> dict[str, Any]:
    """The fields of `_Transformer` that all files name alike."""
    config = file.fields
    return {
        "name": file.name,
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "dim": config["hidden_size"],
        "vocabulary": config["vocab_size"],
        "mlp_dim": config["intermediate_size"],
        "pad_id": config.get("pad_token_id"),
    }


def _read_decoder(file: _ConfigFile) -> Decoder:
    config, model_type, name, where = file
    is_gemma = model_type.startswith("gemma")
    has_head = name.endswith("ForSequenceClassification")
    for field in ("attention_bias", "mlp_bias", "use_bidirectional_attention"):
        if config.get(field):
            raise ValueError(f"{where} has {field} = {config[field]}, which is not supported")
    labels = len(config["id2label"]) if "id2label" in config else config.get("num_labels", 2)
    if has_head and labels != 1:
        expected = "a reward model with one is expected"
        raise ValueError(f"{where} has a score head of {labels} labels: {expected}")
    common = _read_common(file)
    dim, heads = common["dim"], common["heads"]
    head_dim = config.get("head_dim") or dim // heads
    ropes, layer_rope, layer_window = _read_layers(file, common["layers"])
    activation = config.get("hidden_act", "silu")
    if is_gemma:
        activation = config.get("hidden_activation", "gelu_pytorch_tanh")
    return Decoder(
        **common,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=head_dim,
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
    )


def _read_layers(
    file: _ConfigFile, layers: int
) -> tuple[tuple[Rope, ...], tuple[int, ...], tuple[int, ...] | None]:
    """`ropes`, `layer_rope` and `layer_window`, also as files before transformers 5 write them."""
    config, model_type, _, where = file
    window = config.get("sliding_window", None if model_type == "llama" else 4096)
    if model_type in ("qwen2", "qwen3") and not config.get("use_sliding_window"):
        window = None
    if config.get("layer_types"):
        slides = [layer == "sliding_attention" for layer in config["layer_types"]]
        if len(slides) != layers:
            raise ValueError(f"{where} gives the types of {len(slides)} layers, and has {layers}")
        if unknown := sorted(set(config["layer_types"]) - {"sliding_attention", "full_attention"}):
            expected = "sliding_attention or full_attention is expected"
            raise ValueError(f"{where} has layers of type {unknown[0]!r}: {expected}")
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


def _read_encoder(file: _ConfigFile) -> Encoder:
    config, model_type, _, where = file
    position_type = config.get("position_embedding_type", "absolute")
    if position_type != "absolute":
        raise ValueError(f"{where} has positions of type {position_type!r}: 'absolute' is expected")
    first_position = 0 if model_type == "bert" else config["pad_token_id"] + 1
    buckets = config["relative_attention_num_buckets"] if model_type == "mpnet" else 0
    if buckets % 4 or (model_type == "mpnet" and buckets < 4):
        expected = "a multiple of 4 is expected"
        raise ValueError(f"{where} has relative_attention_num_buckets = {buckets}: {expected}")
    return Encoder(
        **_read_common(file),
        activation=_activation(config.get("hidden_act", "gelu"), where),
        norm_eps=config["layer_norm_eps"],
        positions=config["max_position_embeddings"],
        first_position=first_position,
        types=0 if model_type == "mpnet" else config["type_vocab_size"],
        buckets=buckets,
        max_length=config["max_position_embeddings"] - first_position,
    )


def _activation(name: str, where: str) -> str:
    if name not in _ACTIVATIONS:
        supported = ", ".join(_ACTIVATIONS)
        raise ValueError(f"{where} has the activation {name!r}: supported are {supported}")
    return _ACTIVATIONS[name]
