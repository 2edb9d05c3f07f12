"""A model ready to embed: its weights on the devices and its tokenizer; texts to embeddings."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from lore_jax.embed.pooling import Pooling, read_pooling
from lore_jax.embed.render import Renderer, make_renderer
from lore_jax.embed.texts import encode_texts
from lore_jax.embed.tokenizer import load_tokenizer
from lore_jax.embed.transformer.architectures import Architecture
from lore_jax.embed.transformer.config_file import read_architecture
from lore_jax.embed.transformer.placement import Placement, make_placement
from lore_jax.embed.transformer.weights import Params, load_params, model_identity
from lore_jax.parallel.devices import Devices

# Tokens; the models' own limits are far above what a conversation needs, and cost memory.
_DECODER_LENGTH = 4096
_BATCH_TOKENS = {"cpu": 2048}
_BATCH_TOKENS_ACCELERATOR = 16_384


@dataclasses.dataclass(frozen=True)
class EmbedConfig:
    """How texts are embedded.

    Attributes:
        dtype: number type of weights and activations; None: bfloat16 if the model's files are, else
            float32.
        max_length: the longest text in tokens; longer conversations lose their beginning. None:
            what the model's files say, at most 4096 for decoders.
        batch_tokens: tokens a device works on at a time; None: 2048 on a CPU, 16384 on an
            accelerator.
        model_parallel: how many devices share each matrix of a model that is too large for one.
        store: number type of the table in a cache; None: that of the computation.
    """

    dtype: Literal["bfloat16", "float32"] | None = None
    max_length: int | None = None
    batch_tokens: int | None = None
    model_parallel: int = 1
    store: Literal["float16", "bfloat16", "float32"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class TextEncoder:
    """A model ready to embed; `load_encoder` makes it.

    Attributes:
        folder: where it was loaded from.
        config: how it was asked to embed.
        model: its architecture.
        params: its weights, on the devices.
        head: the score head of a reward model, float32 `[dim]`, or None.
        renderer: how texts are written and cut into tokens.
        pooling: how an embedding is made of a text's tokens.
        placement: the mesh of devices.
        batch_tokens: tokens of a batch, all devices together.
    """

    folder: Path
    config: EmbedConfig
    model: Architecture
    params: Params
    head: Float[np.ndarray, " dim"] | None
    renderer: Renderer
    pooling: Pooling
    placement: Placement
    batch_tokens: int

    @property
    def dtype(self) -> np.dtype:
        """The number type of the weights."""
        return self.params.single["embedding"].dtype

    def describe(self) -> dict[str, object]:
        """Everything that an embedding depends on, for a cache's manifest.

        Reads all its files, the first time.
        """
        return dict(self._description)

    @functools.cached_property
    def _description(self) -> dict[str, object]:
        renderer, pooling = self.renderer, self.pooling
        return {
            **model_identity(self.folder),
            "architecture": self.model.name,
            "rendering": "chat template" if renderer.is_chat else "plain",
            "template_sha256": renderer.tokenizer.template_sha256 if renderer.is_chat else None,
            "prefix": renderer.prefix,
            "pooling": pooling.mode,
            "unit_norm": pooling.unit_norm,
            "dtype": np.dtype(self.dtype).name,
            "max_length": renderer.max_length,
        }

    def encode(self, texts: Sequence[str | list[dict[str, str]]]) -> Float[np.ndarray, "texts dim"]:
        """Embeds texts.

        Args:
            texts: strings; for chat models (reward models) conversations, lists of `{"role": ...,
                "content": ...}` that end with the assistant's turn.

        Returns:
            float32 `[texts, dim]`.

        Raises:
            ValueError: a text cannot be embedded: empty, longer than the limit, holding the model's
                special tokens. The message names it.

        Example:
            >>> load_encoder("all-MiniLM-L6-v2").encode(["A text."]).shape  # doctest: +SKIP
            (1, 384)
        """
        return encode_texts(self, texts)


def load_encoder(
    folder: str | os.PathLike[str],
    config: EmbedConfig | None = None,
    *,
    devices: Devices | None = None,
) -> TextEncoder:
    """Loads a model from a Hugging Face folder (config.json, tokenizer.json, safetensors).

    Args:
        folder: the folder, already downloaded.
        config: how to embed.
        devices: None: all local ones.

    Returns:
        The encoder.

    Raises:
        FileNotFoundError: the folder or a part of it is missing.
        ValueError: the model is not supported, its files are corrupt, or the configuration does not
            fit it.

    Example:
        >>> encoder = load_encoder("all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> embed_texts(["A text.", "Another."], encoder).shape  # doctest: +SKIP
        (2, 384)
    """
    config = EmbedConfig() if config is None else config
    folder = Path(folder)
    model = read_architecture(folder)
    pooling = read_pooling(folder, model)
    # A decoder without sentence-transformers files is a chat model, trained on conversations.
    is_chat = model.is_causal and not (folder / "modules.json").is_file()
    tokenizer, limit = load_tokenizer(folder), _max_length(model, pooling, config)
    renderer = make_renderer(tokenizer, is_chat=is_chat, prefix=pooling.prefix, max_length=limit)
    placement = make_placement(model, devices, config.model_parallel)
    batch_tokens = config.batch_tokens
    if batch_tokens is None:
        platform = placement.mesh.devices.flat[0].platform
        batch_tokens = _BATCH_TOKENS.get(platform, _BATCH_TOKENS_ACCELERATOR)
    if batch_tokens < 16:
        raise ValueError(f"batch_tokens is {batch_tokens}: 16 or more is expected")
    params, head = load_params(folder, model, placement, config.dtype)
    batch_tokens *= placement.data_parallel
    return TextEncoder(
        folder, config, model, params, head, renderer, pooling, placement, batch_tokens
    )


def as_encoder(
    model: str | os.PathLike[str] | TextEncoder, config: EmbedConfig | None
) -> TextEncoder:
    """The encoder itself, or the one loaded from a folder; only the latter is configured here."""
    if not isinstance(model, TextEncoder):
        return load_encoder(model, config)
    if config is not None:
        raise ValueError("config goes to load_encoder: this encoder is loaded already")
    return model


def embed_texts(
    texts: Sequence[str | list[dict[str, str]]],
    model: str | os.PathLike[str] | TextEncoder,
    config: EmbedConfig | None = None,
) -> Float[np.ndarray, "texts dim"]:
    """Embeds texts with a model from a Hugging Face folder.

    Args:
        texts: strings; for chat models (reward models) conversations, lists of `{"role": ...,
            "content": ...}` that end with the assistant's turn.
        model: the folder, or what `load_encoder` made of it, which saves loading it again.
        config: how to embed; only with a folder.

    Returns:
        float32 `[texts, dim]`.

    Raises:
        FileNotFoundError: the folder or a part of it is missing.
        ValueError: the model is not supported, or a text cannot be embedded: empty, longer than the
            limit, holding the model's special tokens. The message names it.

    Example:
        >>> texts = ["Clean water for all.", "Lower the speed limit."]
        >>> embed_texts(texts, "all-MiniLM-L6-v2").shape  # doctest: +SKIP
        (2, 384)
    """
    return as_encoder(model, config).encode(texts)


def _max_length(model: Architecture, pooling: Pooling, config: EmbedConfig) -> int:
    if (length := config.max_length) is not None:
        if not 2 <= length <= model.max_length:
            expected = f"2 to {model.max_length}, what the model was made for, is expected"
            raise ValueError(f"max_length is {length}: {expected}")
        return length
    limits = [model.max_length, pooling.max_length, _DECODER_LENGTH if model.is_causal else None]
    return min(limit for limit in limits if limit is not None)
