"""New texts to scores: replies to a prompt, embedded and scored for every user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float

from lore_jax.data.encoder_identity import check_encoder
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.users.score import score

Message: TypeAlias = dict[str, str]
Prompt: TypeAlias = str | list[Message] | None
Reply: TypeAlias = str | list[Message]


class Encoder(Protocol):
    """What makes embeddings of texts: `lore_jax.embed.TextEncoder`, or anything that encodes.

    One that can `describe` itself, as `TextEncoder` does, must be the one of the fit.
    """

    def encode(self, texts: Sequence[str | list[Message]]) -> Float[np.ndarray, "texts dim"]:
        """Embeddings of texts, or of conversations that end with the assistant's turn."""
        ...


def score_texts(
    model: Model,
    posterior: Posterior,
    encoder: Encoder,
    prompt: Prompt,
    replies: Sequence[Reply],
) -> Float[np.ndarray, "users replies"]:
    """Every user's scores of replies to a prompt, given as texts.

    Args:
        model: a fitted model.
        posterior: of the users.
        encoder: what made the embeddings of the fit. A `TextEncoder` is refused if it is another
            than that of the run or cache which the model comes from; an object that does no more
            than `encode` has no identity, and is taken at its word.
        prompt: a text, a conversation that ends with the user's turn, or None where texts answer
            nothing (statements).
        replies: texts, or the assistant's turn as a list of one message.

    Returns:
        Scores in logits; only their differences mean anything.

    Raises:
        ValueError: there is no reply, one is empty or cannot be embedded, the embeddings are not as
            wide as the fit's, or another encoder makes them.

    Example:
        >>> class Letters:
        ...     def encode(self, texts):
        ...         return np.array([[len(str(text))] * 8 for text in texts], np.float32)
        >>> score_texts(model, posterior, Letters(), "Tea?", ["Yes.", "No, thanks."]).shape
        (12, 2)
    """
    check_encoder(encoder, model.encoder)
    return score(model, posterior, embed_replies(encoder, prompt, replies))


def embed_replies(
    encoder: Encoder, prompt: Prompt, replies: Sequence[Reply]
) -> Float[np.ndarray, "replies dim"]:
    """Embeddings of replies to a prompt; the arguments are those of `score_texts`."""
    if not len(replies):
        raise ValueError("there are 0 replies: 1 or more is expected")
    texts = [conversation(prompt, reply, f"reply {at}") for at, reply in enumerate(replies)]
    return np.asarray(encoder.encode(texts))


def conversation(prompt: Prompt, reply: Reply, name: str = "reply") -> str | list[Message]:
    """A prompt and a reply as an encoder reads them; `name` is what errors call the reply.

    Raises:
        ValueError: the reply is empty, or prompt or reply are not what they should be.

    Example:
        >>> conversation("Tea?", "Yes.")
        [{'role': 'user', 'content': 'Tea?'}, {'role': 'assistant', 'content': 'Yes.'}]
        >>> conversation(None, "Clean water for all.")
        'Clean water for all.'
    """
    text = reply_text(reply, name)
    if not text.strip():
        raise ValueError(f"{name} is empty: a text is expected")
    if prompt is None:
        return text
    if isinstance(prompt, str):
        turns = [{"role": "user", "content": prompt}]
    elif isinstance(prompt, list) and all(isinstance(turn, Mapping) for turn in prompt):
        turns = [dict(turn) for turn in prompt]
    else:
        kind = type(prompt).__name__
        raise ValueError(f"the prompt is a {kind}: a text or a list of messages is expected")
    return [*turns, {"role": "assistant", "content": text}]


def reply_text(reply: Reply, name: str = "reply") -> str:
    """The text of a reply, given as a text or as the assistant's turn in a list.

    Raises:
        ValueError: it is neither.

    Example:
        >>> reply_text([{"role": "assistant", "content": "Yes."}])
        'Yes.'
    """
    if isinstance(reply, str):
        return reply
    is_turn = isinstance(reply, list) and len(reply) == 1 and isinstance(reply[0], Mapping)
    content = reply[0].get("content") if is_turn else None
    if not isinstance(content, str) or reply[0].get("role") != "assistant":
        expected = "a text, or a list of one message of the assistant, is expected"
        raise ValueError(f"{name} is {str(reply)[:60]!r}: {expected}")
    return content
