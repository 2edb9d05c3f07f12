"""Prompt and replies of one row, brought to one form: a tuple of chat messages, and two texts.

The three spellings of preference data sets (as in TRL) are understood: strings; the assistant's
turn as a list of one message; whole conversations that repeat the prompt. Both sides must be spelt
alike, because a difference in spelling between chosen and rejected is a label that every model
finds before it finds a preference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# Python's way of writing a list of strings or of messages. JSON's double quotes alone may be a
# genuine reply.
_LIST_AS_TEXT = re.compile(r"""\s*\[(?:'.*['"]|".*'|\{['"]role['"].*\})\]\s*""", re.DOTALL)


class Message(NamedTuple):
    """One turn of a conversation.

    Attributes:
        role: system (only in the first place), user or assistant.
        content: the text.
    """

    role: str
    content: str


class Comparison(NamedTuple):
    """What a row compares.

    Attributes:
        prompt: the conversation up to the reply; ends with the user's turn.
        chosen: the preferred reply.
        rejected: the other reply.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


def parse_comparison(row: Mapping[str, object]) -> Comparison:
    """Reads the columns chosen, rejected and, both optional, prompt and system of a row.

    Args:
        row: the columns by name. Prompt, chosen and rejected are strings or lists of `{"role": ...,
            "content": ...}`; the prompt may be absent where chosen and rejected are whole
            conversations.

    Returns:
        The comparison.

    Raises:
        ValueError: one line that names the column, without the place of the row.

    Example:
        >>> row = {"prompt": "Name a colour.", "chosen": "Blue.", "rejected": "No."}
        >>> parse_comparison(row).prompt
        (Message(role='user', content='Name a colour.'),)
    """
    sides = {name: _side(name, row[name]) for name in ("chosen", "rejected")}
    if isinstance(row["chosen"], str) != isinstance(row["rejected"], str):
        raise ValueError(
            "chosen and rejected are a text and a list of messages: both must be of one kind"
        )
    system = row.get("system")
    if system is not None and not isinstance(system, str):
        raise ValueError(f"system is {kind_of(system)}: a text is expected")
    prompt = _prompt(row, system)
    for name, (head, reply) in sides.items():
        if head and prompt is not None and head not in (prompt, _without_system(prompt)):
            raise ValueError(
                f"{name} is a conversation that does not begin with the prompt and end with one "
                "reply to it"
            )
        check_reply(name, reply)
    (head, chosen), (rejected_head, rejected) = sides.values()
    if prompt is None:
        prompt = head
        if head != rejected_head:
            raise ValueError(
                "chosen and rejected differ before the last reply: one prompt for both is expected"
            )
        if not prompt:
            raise ValueError(
                "there is no prompt: neither a column of that name nor whole conversations"
            )
        if system:
            prompt = _with_system(system, prompt)
    check_prompt("prompt", prompt)
    if chosen == rejected:
        raise ValueError(f"chosen equals rejected ({short(chosen)})")
    return Comparison(prompt, chosen, rejected)


def parse_conversation(name: str, value: object) -> tuple[tuple[Message, ...], str]:
    """Reads a whole conversation: the prompt, and the reply that it ends with.

    Args:
        name: what the conversation is called in messages.
        value: a list of `{"role": ..., "content": ...}`, the last of them the assistant's.

    Returns:
        The prompt, not empty, and the reply.

    Raises:
        ValueError: one line that begins with `name`.
    """
    if not isinstance(value, list):
        got = f"{kind_of(value)} ({short(value)})"
        raise ValueError(f"{name} is {got}: a list of messages is expected")
    prompt, reply = _side(name, value)
    if not prompt:
        raise ValueError(f"{name} has no turn before the reply: a prompt is expected")
    check_prompt(name, prompt)
    check_reply(name, reply)
    return prompt, reply


def parse_messages(name: str, value: object) -> tuple[Message, ...]:
    """Reads a list of `{"role": ..., "content": ...}`; messages of errors begin with `name`."""
    if not isinstance(value, list):
        got = f"{kind_of(value)} ({short(value)})"
        raise ValueError(f"{name} is {got}: a text or a list of messages is expected")
    messages = []
    for number, message in enumerate(value):
        where = f"{name}: message {number}"
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            expected = "an object with role and content is expected"
            raise ValueError(f"{where} is {short(message)}: {expected}")
        role, content = message["role"], message["content"]
        if role not in ("system", "user", "assistant"):
            raise ValueError(f"{where} has role {role!r}: system, user or assistant is expected")
        if not isinstance(content, str):
            raise ValueError(f"{where} has a content that is {kind_of(content)}, not a text")
        messages.append(Message(role, content))
    return tuple(messages)


def check_prompt(name: str, prompt: tuple[Message, ...]) -> None:
    """Refuses turns that do not alternate or end with the user's; errors begin with `name`."""
    _check_turns(name, prompt)
    if not prompt or prompt[-1].role != "user":
        last = f"the turn of {prompt[-1].role!r}" if prompt else "nothing"
        raise ValueError(f"{name} ends with {last}: 'user' is expected")


def check_reply(name: str, reply: str) -> None:
    """Refuses a reply that is empty, or a list rendered as text; errors begin with `name`."""
    if _LIST_AS_TEXT.fullmatch(reply):
        raise ValueError(
            f"{name} is a list rendered as text ({short(reply)}): the text itself is expected"
        )
    if not reply.strip():
        raise ValueError(f"{name} is an empty reply")


def kind_of(value: object) -> str:
    """What a value of a JSON or Parquet file is, in words."""
    if value is None or isinstance(value, Mapping):
        return "null" if value is None else "an object"
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
    return names.get(type(value), f"a {type(value).__name__}")


def _prompt(row: Mapping[str, object], system: str | None) -> tuple[Message, ...] | None:
    value = row.get("prompt")
    if value is None:
        if isinstance(row["chosen"], str):
            raise ValueError("prompt is null: a text or a list of messages is expected")
        return None
    is_text = isinstance(value, str)
    prompt = (Message("user", value),) if is_text else parse_messages("prompt", value)
    if not prompt or not prompt[-1].content.strip():
        raise ValueError("prompt is empty")
    return _with_system(system, prompt) if system else prompt


def _side(name: str, value: object) -> tuple[tuple[Message, ...], str]:
    """The conversation before the reply, empty if it is not repeated, and the reply."""
    if isinstance(value, str):
        return (), value
    messages = parse_messages(name, value)
    if not messages or messages[-1].role != "assistant":
        last = f"the turn of {messages[-1].role!r}" if messages else "nothing"
        raise ValueError(f"{name} ends with {last}: a reply of 'assistant' is expected")
    return messages[:-1], messages[-1].content


def _check_turns(name: str, messages: tuple[Message, ...]) -> None:
    for number, message in enumerate(_without_system(messages)):
        expected = ("user", "assistant")[number % 2]
        if message.role != expected:
            index = number + len(messages) - len(_without_system(messages))
            got = f"the turn of {message.role!r}"
            raise ValueError(f"{name}: message {index} is {got}: {expected!r} is expected")


def _without_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return messages[1:] if messages and messages[0].role == "system" else messages


def _with_system(system: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if messages[0].role == "system" and messages[0].content != system:
        raise ValueError("system is given in its own column and, differently, in the conversation")
    return (Message("system", system), *_without_system(messages))


def short(value: object) -> str:
    """A value in a message: as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
