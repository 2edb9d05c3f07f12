"""From comparisons of texts to an embedding cache: checked, resumable, with the reference head."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lore_jax.datasets.formats.messages import Message, parse_messages
from lore_jax.datasets.formats.rows import TextPairs
from lore_jax.embed.forward import own_logits
from lore_jax.embed.render import Conversation, prepare
from lore_jax.embed.text_encoder import EmbedConfig, TextEncoder, as_encoder
from lore_jax.embed.texts import embed_conversations
from lore_jax.storage.cache.writer import CacheWriter

_ROWS_PER_SHARD = 512  # the most rows that an interrupted run embeds again
_SAMPLE = 8  # responses whose logit is compared with the model's own


class EmbedReport(NamedTuple):
    """What `embed_pairs` did.

    Attributes:
        path: the cache.
        responses: the number of rows of the table.
        resumed_from: the row at which an interrupted run was resumed; 0: none was.
        cut_prompts: how many distinct prompts were too long and lost their beginning.
        cut_replies: how many replies they have.
    """

    path: Path
    responses: int
    resumed_from: int
    cut_prompts: int
    cut_replies: int


def embed_pairs(
    pairs: TextPairs,
    model: str | os.PathLike[str] | TextEncoder,
    out: str | os.PathLike[str],
    config: EmbedConfig | None = None,
    *,
    overwrite: bool = False,
) -> EmbedReport:
    """Embeds every distinct response of comparisons into a cache; repeated, it resumes.

    Args:
        pairs: the comparisons, as `read_text_pairs` reads them, or of Polis conversations, by
            `polis_text_pairs`.
        model: the folder of a reward model, whose score head becomes the cache's reference head, or
            of an encoder; or what `load_encoder` made of it.
        out: the cache's folder, new or empty.
        config: how to embed; only with a folder.
        overwrite: replace a cache that is there.

    Returns:
        What was embedded, and how many prompts were cut.

    Raises:
        FileNotFoundError: the model's folder or a part of it is missing.
        FileExistsError: `out` holds something else.
        ValueError: the model is not supported; a response cannot be embedded unchanged (the message
            names its pair); or head . embedding is not the model's own logit. Nothing is finished,
            rows already done stay.
        OSError: the disk refused; rows already done stay.

    Example:
        >>> pairs = read_text_pairs("pairs.jsonl")  # doctest: +SKIP
        >>> embed_pairs(pairs, "Skywork-Reward-Llama-3.1-8B-v0.2", "cache")  # doctest: +SKIP
        >>> prefs = load_cache("cache")  # doctest: +SKIP
    """
    encoder = as_encoder(model, config)
    labels = labels_of(pairs)
    conversations = _conversations(pairs, labels)
    prepared = prepare(conversations, encoder.renderer, labels)
    dtype = jnp.dtype(encoder.config.store or encoder.dtype)
    writer = CacheWriter(
        out,
        dim=encoder.model.dim,
        dtype=dtype,
        encoder=encoder.describe(),
        inputs=_digest(conversations),
        shard_bytes=_ROWS_PER_SHARD * encoder.model.dim * dtype.itemsize,
        overwrite=overwrite,
    )
    with writer:
        first = row = writer.rows_done
        for table in embed_conversations(prepared.conversations, encoder, labels, first=first):
            if row == first and encoder.head is not None:
                conversations = prepared.conversations[row : row + len(table)]
                _check_head(encoder, conversations, table.astype(dtype), labels[row:])
            writer.append(table)
            row += len(table)
        path = writer.finish(
            **pairs.cache_columns(),
            head=encoder.head,
            texts=pairs.responses,
            extra=pairs.extra or None,
        )
    _, cut_prompts, cut_replies = prepared
    return EmbedReport(path, len(pairs.responses), first, cut_prompts, cut_replies)


def digest_of(pairs: TextPairs) -> str:
    """Of the texts to embed, in their order; what a cache's manifest calls its inputs."""
    return _digest(conversations_of(pairs))


def conversations_of(pairs: TextPairs) -> list[Conversation]:
    """The responses as conversations; both sides of a pair must answer the same prompt."""
    return _conversations(pairs, labels_of(pairs))


def labels_of(pairs: TextPairs) -> list[str]:
    """What to call each response in messages: as given, or by the first pair that has it."""
    if pairs.labels:
        return pairs.labels
    labels = ["a response of no pair"] * len(pairs.responses)
    for side, column in (("rejected", pairs.rejected), ("chosen", pairs.chosen)):
        for number in range(len(column) - 1, -1, -1):
            labels[column[number]] = f"pair {number}, {side}"
    return labels


def _conversations(pairs: TextPairs, labels: Sequence[str]) -> list[Conversation]:
    """The responses as conversations; both sides of a pair must answer the same prompt.

    Not so where pairs are made of ratings across prompts.
    """
    conversations = []
    prompts: dict[tuple[Message, ...], tuple[Message, ...]] = {}  # equal prompts become one object
    for response, label in zip(pairs.responses, labels, strict=True):
        prompt = parse_messages(f"{label}: prompt", response.prompt)
        conversations.append(Conversation(prompts.setdefault(prompt, prompt), response.reply))
    if pairs.across_prompts:
        return conversations
    for number, (chosen, rejected) in enumerate(zip(pairs.chosen, pairs.rejected, strict=True)):
        if conversations[chosen].prompt is not conversations[rejected].prompt:
            problem = "chosen and rejected answer different prompts"
            raise ValueError(f"pair {number}: {problem}: they may differ in the reply only")
    return conversations


def _digest(conversations: Sequence[Conversation]) -> str:
    digest = hashlib.sha256()
    for conversation in conversations:
        digest.update(json.dumps(conversation).encode())
    return digest.hexdigest()


def _check_head(
    encoder: TextEncoder,
    conversations: Sequence[Conversation],
    stored: Float[np.ndarray, "responses dim"],
    labels: Sequence[str],
) -> None:
    """Refuses stored embeddings whose product with the head is not the model's own logit.

    A sample is run again text by text, so that packing, shared prompts, pooling and rounding are
    all checked. Rounding errors are about independent of the head: they change a logit by a few eps
    of `|head| |embedding| / sqrt(dim)`; a wrong head or token changes it by about all of that.
    """
    assert encoder.head is not None
    renderer = encoder.renderer
    sample = np.unique(np.linspace(0, len(conversations) - 1, _SAMPLE).astype(int))
    texts = [renderer.text(*conversations[number]) for number in sample]
    own = own_logits(encoder, renderer.token_ids(texts))
    embeddings = stored[sample].astype(np.float32)
    computed = embeddings @ encoder.head
    eps = max(float(jnp.finfo(stored.dtype).eps), float(jnp.finfo(encoder.dtype).eps))
    size = np.linalg.norm(encoder.head) * np.linalg.norm(embeddings, axis=1)
    size /= np.sqrt(encoder.model.dim)
    wrong = ~(np.abs(computed - own) <= max(1e-3, 16 * eps) * size)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{labels[sample[first]]}: head . embedding is {computed[first]:.4g}, the model's own "
            f"logit is {own[first]:.4g}: these are not the model's embeddings"
        )
