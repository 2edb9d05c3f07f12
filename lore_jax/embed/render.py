"""Rendering: from a prompt and a reply to the embedded text, alike for both sides of a pair.

If chosen and rejected are written in different ways, a model learns the way and not the preference.
Therefore a prompt fixes a frame, the text before and after the reply; every reply must stand in its
prompt's frame, and nothing else may change. A conversation that is too long loses its beginning,
the same for all replies to it; a reply is never cut.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from lore_jax.datasets.formats.messages import Message, check_prompt, check_reply
from lore_jax.embed.tokenizer import TextTokenizer, few_steps

_BETWEEN_TURNS = "\n\n"  # for models without a chat template
_PLACEHOLDER = "A reply."
_TEXTS_PER_BLOCK = 1024
_MARGIN = 8  # tokens that are no bytes of the text: at most a few special ones

_Prompt = tuple[Message, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Renderer:
    """How texts are written for one model.

    Attributes:
        tokenizer: the model's.
        is_chat: conversations are written by the chat template; otherwise turns are joined by an
            empty line.
        prefix: put in front of every text (some encoders ask for it); empty for chat models.
        max_length: the longest text, in tokens.
    """

    tokenizer: TextTokenizer
    is_chat: bool
    prefix: str
    max_length: int

    def text(self, prompt: Sequence[Message], reply: str) -> str:
        """The text of a response: chosen and rejected alike are written here and nowhere else."""
        if self.is_chat:
            turns = [*prompt, Message("assistant", reply)]
            return self.tokenizer.render_chat([turn._asdict() for turn in turns])
        return self.prefix + _BETWEEN_TURNS.join([*(turn.content for turn in prompt), reply])

    def token_ids(self, texts: Sequence[str]) -> list[Int[np.ndarray, " _"]]:
        """The tokens of rendered texts; a chat template has written its special tokens already."""
        return self.tokenizer.token_ids(texts, add_special_tokens=not self.is_chat)


class Conversation(NamedTuple):
    """A prompt, empty for a bare text, and the reply that is embedded with it."""

    prompt: tuple[Message, ...]
    reply: str


class Prepared(NamedTuple):
    """Conversations that can be embedded.

    Attributes:
        conversations: as given, with the prompts of those that were too long cut.
        num_cut_prompts: how many distinct prompts were cut.
        num_cut_replies: how many replies that concerns.
    """

    conversations: list[Conversation]
    num_cut_prompts: int
    num_cut_replies: int


def make_renderer(
    tokenizer: TextTokenizer, *, is_chat: bool, prefix: str, max_length: int
) -> Renderer:
    """The `Renderer` of a model, its chat template checked once.

    Raises:
        ValueError: a chat model without a template, or one whose template doubles a special token.
    """
    renderer = Renderer(tokenizer, is_chat, prefix, max_length)
    if not is_chat:
        return renderer
    if tokenizer.chat_template is None:
        problem = "its tokenizer has no chat template to write conversations with"
        raise ValueError(f"the model is a chat model, but {problem}")
    with few_steps():
        text = renderer.text([Message("user", "A prompt.")], _PLACEHOLDER)
    (ids,) = renderer.token_ids([text])
    for first, second in zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True):
        if first == second and first in tokenizer.special_tokens:
            token = tokenizer.special_tokens[first]
            raise ValueError(f"the chat template writes the special token {token!r} twice in a row")
    return renderer


def prepare(
    conversations: Sequence[Conversation], renderer: Renderer, labels: Sequence[str]
) -> Prepared:
    """Checks all conversations before the first is embedded, and cuts prompts that are too long.

    Args:
        conversations: what to embed.
        renderer: how it is written.
        labels: what to call each conversation in messages.

    Raises:
        ValueError: a conversation cannot be embedded unchanged; the message begins with its label.

    Example:
        >>> prepare(conversations, encoder.renderer, labels).num_cut_prompts  # doctest: +SKIP
        0
    """
    replies: dict[_Prompt, list[int]] = {}
    for number, conversation in enumerate(conversations):
        replies.setdefault(conversation.prompt, []).append(number)
    special_tokens = map(re.escape, renderer.tokenizer.special_tokens.values())
    forbidden = re.compile("|".join(special_tokens) or r"(?!)")
    prepared = list(conversations)
    cut_prompts = cut_replies = 0
    progress = {"desc": "checking texts", "unit": "text", "leave": False, "disable": None}
    with tqdm(total=len(conversations), **progress) as bar:
        for block in _blocks(replies):
            texts = {}
            for prompt, numbers in block:
                texts |= _checked_texts(prompt, numbers, conversations, renderer, labels, forbidden)
            lengths = _lengths(texts, renderer)
            for prompt, numbers in block:
                longest = max(numbers, key=lengths.__getitem__)
                if lengths[longest] > renderer.max_length:
                    shorter = _cut(prompt, conversations[longest].reply, renderer, labels[longest])
                    for number in numbers:
                        prepared[number] = Conversation(shorter, conversations[number].reply)
                    cut_prompts += 1
                    cut_replies += len(numbers)
                bar.update(len(numbers))
    return Prepared(prepared, cut_prompts, cut_replies)


def _blocks(replies: dict[_Prompt, list[int]]) -> Iterator[list[tuple[_Prompt, list[int]]]]:
    """Prompts and their replies, about `_TEXTS_PER_BLOCK` replies at a time."""
    block, texts = [], 0
    for prompt, numbers in replies.items():
        block.append((prompt, numbers))
        texts += len(numbers)
        if texts >= _TEXTS_PER_BLOCK:
            yield block
            block, texts = [], 0
    if block:
        yield block


def _checked_texts(
    prompt: _Prompt,
    numbers: Sequence[int],
    conversations: Sequence[Conversation],
    renderer: Renderer,
    labels: Sequence[str],
    forbidden: re.Pattern[str],
) -> dict[int, str]:
    """The rendered texts of all replies to a prompt, each of them checked."""
    texts, frame = {}, None
    for number in numbers:
        reply = conversations[number].reply
        try:
            for turn in prompt:
                _check_content("prompt", turn.content, forbidden)
            _check_content("reply", reply, forbidden)
            check_reply("reply", reply)
            if frame is None:
                if renderer.is_chat and not prompt:
                    reason = "this model reads conversations, texts need an encoder"
                    raise ValueError(f"a text without a prompt: {reason}")
                if prompt:
                    check_prompt("prompt", prompt)
                before, _, after = renderer.text(prompt, _PLACEHOLDER).rpartition(_PLACEHOLDER)
                frame = before, after
            texts[number] = renderer.text(prompt, reply)
            _check_frame(texts[number], reply, *frame)
        except ValueError as error:
            raise ValueError(f"{labels[number]}: {error}") from None
    return texts


def _lengths(texts: Mapping[int, str], renderer: Renderer) -> dict[int, int]:
    """Upper bounds of the texts' numbers of tokens, exact where the bound is above the limit."""
    # A token is a byte or more.
    lengths = {number: len(text.encode()) + _MARGIN for number, text in texts.items()}
    long = [number for number, length in lengths.items() if length > renderer.max_length]
    token_ids = renderer.token_ids([texts[number] for number in long])
    return lengths | dict(zip(long, map(len, token_ids), strict=True))


def _check_content(name: str, content: str, forbidden: re.Pattern[str]) -> None:
    if not isinstance(content, str):
        raise ValueError(f"{name} is a {type(content).__name__}: a text is expected")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        problem = f"has a lone surrogate at character {error.start}"
        raise ValueError(f"{name} {problem}: text in UTF-8 is expected") from None
    if match := forbidden.search(content):
        problem = f"holds the special token {match.group()!r} as text"
        raise ValueError(f"{name} {problem}: text not yet written for a model is expected")


def _check_frame(text: str, reply: str, before: str, after: str) -> None:
    """Refuses a reply that the template writes in another way than the others to its prompt."""
    inner = text[len(before) : len(text) - len(after)]
    if not (text.startswith(before) and text.endswith(after) and inner.strip() == reply.strip()):
        raise ValueError(
            "the chat template writes this reply in another way than others: "
            "chosen and rejected would differ in it"
        )


def _cut(prompt: _Prompt, reply: str, renderer: Renderer, label: str) -> _Prompt:
    """The prompt without its beginning, so that the longest reply fits: exchanges go, then words.

    The system turn stays: it is an instruction for the whole conversation, not its beginning.
    """
    system = prompt[:1] if prompt and prompt[0].role == "system" else ()
    turns = prompt[len(system) :]

    def excess(turns: _Prompt) -> int:
        (ids,) = renderer.token_ids([renderer.text((*system, *turns), reply)])
        return len(ids) - renderer.max_length

    while len(turns) > 1 and excess(turns) > 0:
        turns = turns[2:]
    while (over := excess(turns)) > 0:
        # At most one turn is left. Several tokens may share one character.
        starts = renderer.tokenizer.token_starts(turns[0].content)[over:] if turns else []
        start = next((start for start in starts if start > 0), None)
        if start is None:
            (ids,) = renderer.tokenizer.token_ids([reply], add_special_tokens=False)
            size = f"{len(ids)} tokens, with its prompt too many for {renderer.max_length}"
            limit = "the limit (--max-length, where the model can read more)"
            raise ValueError(f"{label}: the reply has {size}, {limit}; a reply is never cut")
        turns = tuple(turn._replace(content=turn.content[start:]) for turn in turns)
    return (*system, *turns)
