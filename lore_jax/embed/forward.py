"""Batches of tokens through a model: the loop over batches, and a reward model's own logits."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lore_jax.embed.packing import Batch, make_items, pack, usual_row_length
from lore_jax.embed.pooling import pool
from lore_jax.embed.transformer.architectures import Architecture, Decoder
from lore_jax.embed.transformer.attention import PackedTokens
from lore_jax.embed.transformer.bidirectional import encoder_hidden
from lore_jax.embed.transformer.causal import decoder_hidden
from lore_jax.embed.transformer.weights import Params

if TYPE_CHECKING:
    from lore_jax.embed.text_encoder import TextEncoder

_BATCHES_IN_FLIGHT = 2  # one that the device works on, and one that waits for it


class Chunk(NamedTuple):
    """Texts that are packed together; those of one group may share their beginning."""

    token_ids: list[Int[np.ndarray, " _"]]
    group: list[int]


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
