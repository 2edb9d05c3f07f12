"""Texts to embeddings, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from lore_jax.datasets.formats.messages import Message, kind_of, parse_conversation
from lore_jax.embed.forward import Chunk, embed_chunks
from lore_jax.embed.render import Conversation, prepare

if TYPE_CHECKING:
    from lore_jax.embed.text_encoder import TextEncoder

_BATCHES_PER_CHUNK = 16
_CHARACTERS_PER_TOKEN = 4  # a guess, for the size of chunks only
_EXTRA_TOKENS = 8  # what a template adds, likewise


def encode_texts(
    encoder: TextEncoder, texts: Sequence[str | list[dict[str, str]]]
) -> Float[np.ndarray, "texts dim"]:
    """What `TextEncoder.encode` does."""
    conversations = [_conversation(number, text, encoder) for number, text in enumerate(texts)]
    labels = [f"text {number}" for number in range(len(texts))]
    prepared = prepare(conversations, encoder.renderer, labels)
    table = np.empty((len(texts), encoder.model.dim), np.float32)
    done = 0
    for rows in embed_conversations(prepared.conversations, encoder, labels):
        table[done : done + len(rows)] = rows
        done += len(rows)
    return table


def _conversation(number: int, text: object, encoder: TextEncoder) -> Conversation:
    """A text as a reply without a prompt, a conversation as a prompt and a reply."""
    label = f"text {number}"
    if isinstance(text, list):
        return Conversation(*parse_conversation(label, text))
    if not isinstance(text, str):
        raise ValueError(f"{label} is {kind_of(text)}: a text or a list of messages is expected")
    if encoder.renderer.is_chat:
        expected = "conversations, lists of messages that end with the assistant's"
        raise ValueError(f"{label} is a text: {encoder.model.name} reads {expected}")
    return Conversation((), text)


def embed_conversations(
    conversations: Sequence[Conversation],
    encoder: TextEncoder,
    labels: Sequence[str],
    *,
    first: int = 0,
    progress: bool = True,
) -> Iterator[Float[np.ndarray, "_ dim"]]:
    """Embeds prepared conversations chunk by chunk, with a progress bar.

    The chunks depend on the conversations alone, not on `first`: a run that is resumed at any row
    repeats the computation of an uninterrupted one, bit by bit.

    Args:
        conversations: checked and cut by `prepare`.
        encoder: the model.
        labels: what to call each conversation in messages.
        first: the row to begin with.
        progress: a progress bar, where there is a terminal.

    Yields:
        The embeddings of the next rows, from `first` on, float32.
    """
    spans = _chunk_spans(conversations, encoder.batch_tokens)
    spans = [span for span in spans if span.stop > first]
    tokens_of_chunks: list[int] = []

    def chunks() -> Iterator[Chunk]:
        renderer = encoder.renderer
        for span in spans:
            part = conversations[span.start : span.stop]
            ids = renderer.token_ids([renderer.text(*conversation) for conversation in part])
            for number, length in zip(span, map(len, ids), strict=True):
                if length > renderer.max_length:
                    problem = f"{length} tokens: the limit is {renderer.max_length}"
                    raise ValueError(f"{labels[number]} has {problem}")
            _refuse_unknown_tokens(ids, encoder)
            tokens_of_chunks.append(sum(map(len, ids)))
            groups: dict[tuple[Message, ...], int] = {}
            group = [groups.setdefault(conversation.prompt, len(groups)) for conversation in part]
            yield Chunk(ids, group)

    shown = {"desc": "embedding", "unit": "text", "disable": None if progress else True}
    with tqdm(total=len(conversations), initial=first, **shown) as bar:
        tokens, tables = 0, embed_chunks(encoder, chunks())
        for number, (span, table) in enumerate(zip(spans, tables, strict=True)):
            new = table[max(first - span.start, 0) :]
            tokens += tokens_of_chunks[number]
            bar.update(len(new))
            if elapsed := bar.format_dict["elapsed"]:
                bar.set_postfix_str(f"{tokens / elapsed:,.0f} tokens/s")
            yield new


def _refuse_unknown_tokens(ids: Sequence[Int[np.ndarray, " _"]], encoder: TextEncoder) -> None:
    """Of a token that the model does not have, the device would take another one's embedding."""
    largest, known = max(int(sequence.max()) for sequence in ids), encoder.model.vocabulary
    if largest >= known:
        raise ValueError(
            f"{encoder.folder}: the tokenizer gives token {largest}, the weights have {known} "
            "tokens: they do not belong together"
        )


def _chunk_spans(conversations: Sequence[Conversation], batch_tokens: int) -> Iterator[range]:
    """Cuts rows into chunks of about `_BATCHES_PER_CHUNK` batches: enough texts to pack densely."""
    start, tokens = 0, 0.0
    for number, conversation in enumerate(conversations):
        texts = [conversation.reply, *(turn.content for turn in conversation.prompt)]
        characters = sum(map(len, texts))
        tokens += characters / _CHARACTERS_PER_TOKEN + _EXTRA_TOKENS
        if tokens >= _BATCHES_PER_CHUNK * batch_tokens:
            yield range(start, number + 1)
            start, tokens = number + 1, 0.0
    if start < len(conversations):
        yield range(start, len(conversations))
