"""A model ready to embed: its weights on the devices, its tokenizer, and the loop over batches."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lore_jax.embed.packing import Batch, make_items, pack, usual_row_length
from lore_jax.embed.pooling import Pooling, pool, read_pooling
from lore_jax.embed.render import Renderer, make_renderer
from lore_jax.embed.tokenizer import load_tokenizer
from lore_jax.embed.transformer.architectures import Architecture, Decoder, read_architecture
from lore_jax.embed.transformer.attention import PackedTokens
from lore_jax.embed.transformer.bidirectional import encoder_hidden
from lore_jax.embed.transformer.causal import decoder_hidden
from lore_jax.embed.transformer.placement import Placement, make_placement
from lore_jax.embed.transformer.weights import Params, load_params
from lore_jax.parallel.devices import Devices

# Tokens; the models' own limits are far above what a conversation needs, and cost memory.
_DECODER_LENGTH = 4096
_BATCH_TOKENS = {"cpu": 2048}
_BATCH_TOKENS_ACCELERATOR = 16_384
_BATCHES_IN_FLIGHT = 2  # one that the device works on, and one that waits for it


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


class Chunk(NamedTuple):
    """Texts that are packed together; those of one group may share their beginning."""

    token_ids: list[Int[np.ndarray, " _"]]
    group: list[int]


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


def _max_length(model: Architecture, pooling: Pooling, config: EmbedConfig) -> int:
    if (length := config.max_length) is not None:
        if not 2 <= length <= model.max_length:
            expected = f"2 to {model.max_length}, what the model was made for, is expected"
            raise ValueError(f"max_length is {length}: {expected}")
        return length
    limits = [model.max_length, pooling.max_length, _DECODER_LENGTH if model.is_causal else None]
    return min(limit for limit in limits if limit is not None)


def embed_chunks(
    encoder: TextEncoder, chunks: Iterable[Chunk]
) -> Iterator[Float[np.ndarray, "_ dim"]]:
    """The embeddings of each chunk, float32; a thread prepares the next while the devices work."""
    iterator = iter(chunks)
    tables: collections.deque[np.ndarray] = collections.deque()  # of chunks that still run
    running: collections.deque[tuple[Batch, jax.Array, bool]] = collections.deque()

    def next_batches() -> tuple[int, list[Batch]] | None:
        chunk = next(iterator, None)
        return None if chunk is None else (len(chunk.token_ids), make_batches(encoder, chunk))

    def finished(most: int) -> Iterator[np.ndarray]:
        """Waits until `most` batches are running; batches end in the order they began."""
        while len(running) > most:
            batch, pooled, is_last = running.popleft()
            is_text = batch.text >= 0
            tables[0][batch.text[is_text]] = np.asarray(pooled)[is_text]
            if is_last:
                yield tables.popleft()

    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="tokenise") as thread:
        future = thread.submit(next_batches)
        while (ready := future.result()) is not None:
            future = thread.submit(next_batches)
            texts, batches = ready
            tables.append(np.empty((texts, encoder.model.dim), np.float32))
            for number, batch in enumerate(batches, start=1):
                running.append((batch, run_batch(encoder, batch), number == len(batches)))
                yield from finished(_BATCHES_IN_FLIGHT - 1)
        yield from finished(0)


def make_batches(encoder: TextEncoder, chunk: Chunk) -> list[Batch]:
    """Lays a chunk's texts out in rows and batches."""
    row_length = usual_row_length([len(ids) for ids in chunk.token_ids], encoder.batch_tokens)
    pooling, pad_id = encoder.pooling, encoder.model.pad_id
    items = make_items(
        *chunk,
        lambda ids: pooling.token_index(ids, pad_id),
        share=encoder.model.is_causal and pooling.mode in ("last", "last_non_pad"),
        row_length=row_length,
    )
    batch_tokens, multiple = encoder.batch_tokens, encoder.placement.data_parallel
    return pack(items, row_length=row_length, batch_tokens=batch_tokens, rows_multiple=multiple)


def run_batch(encoder: TextEncoder, batch: Batch) -> Float[jax.Array, "rows texts dim"]:
    """Starts one batch on the devices and does not wait for it."""
    tokens, index = jax.device_put((batch.tokens, batch.index), encoder.placement.rows)
    hidden = _hidden(encoder.params, tokens, encoder.model)
    return _pool(hidden, tokens.item, index, encoder.pooling)


@jax.jit(static_argnames=("model",))
def _hidden(
    params: Params, tokens: PackedTokens, model: Architecture
) -> Float[jax.Array, "rows length dim"]:
    # By default accelerators multiply float32 in a lower precision.
    exact = params.single["embedding"].dtype == jnp.float32
    with jax.default_matmul_precision("float32") if exact else contextlib.nullcontext():
        if isinstance(model, Decoder):
            return decoder_hidden(params, tokens, model)
        return encoder_hidden(params, tokens, model)


# Apart from the forward pass, which another number of texts in a row must not compile again.
_pool = jax.jit(pool, static_argnames=("pooling",))


def own_logits(
    encoder: TextEncoder, token_ids: Sequence[Int[np.ndarray, " _"]]
) -> Float[np.ndarray, " texts"]:
    """A reward model's logit of each text, run alone: the head at the last token but padding."""
    assert encoder.head is not None
    logits = []
    for ids in token_ids:
        (batch,) = make_batches(encoder, Chunk([ids], [0]))
        tokens = jax.device_put(batch.tokens, encoder.placement.rows)
        hidden = np.asarray(_hidden(encoder.params, tokens, encoder.model)[0], np.float32)
        last = len(ids) - 1
        if encoder.model.pad_id is not None:
            last = np.flatnonzero(ids != encoder.model.pad_id)[-1]
        logits.append((hidden @ encoder.head)[last])
    return np.array(logits, np.float32)
