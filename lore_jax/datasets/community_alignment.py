"""Community Alignment: annotators of five countries, four replies a turn (Zhang et al. 2025).

A row is a conversation of up to four turns: `conversation_id`, `annotator_id`, `assigned_lang`, and
for each of first, second, third and fourth `X_turn_prompt`, `X_turn_response_a` to `_d`,
`X_turn_preferred_response` ("response_a"). A user is an annotator; a pair sets the preferred reply
against each other one. Opening prompts are shared by many annotators, so the group that a split
keeps on one side is the opening prompt. Beside the pairs the choices are kept as they were said.
"""

from __future__ import annotations

import os
import re

from lore_jax.datasets.formats.collect import PairCollector, Published
from lore_jax.datasets.formats.hub import Home, locate
from lore_jax.datasets.formats.messages import Message
from lore_jax.datasets.formats.records import Row, data_files, read_rows, require_text

HOME = Home("facebook/community-alignment-dataset", ("*.csv", "data/*.csv"))

_TURNS = ("first", "second", "third", "fourth")
_LETTERS = "abcd"
_COLUMNS = (
    "conversation_id",
    "annotator_id",
    "first_turn_prompt",
    *(f"first_turn_response_{letter}" for letter in _LETTERS),
    "first_turn_preferred_response",
)
_TRAITS = ("age", "gender", "education_level", "political", "country")
_ABOUT = tuple(f"annotator_{trait}" for trait in _TRAITS)
_END_OF_TEXT = "<|end_of_text|>"  # stands at the end of some replies, as the models wrote it


def read_community_alignment(
    data: str | os.PathLike[str], *, language: str | None = None
) -> Published:
    """Reads conversations.

    Args:
        data: a folder with the published CSV (or the same as Parquet or by `datasets`), such a
            file, or `facebook/community-alignment-dataset` to fetch it. Of a full and a filtered
            file the filtered one is read.
        language: only conversations of one `assigned_lang`, "en" for instance; None: all.

    Returns:
        The pairs. Columns: `conversation`, `turn`, `language`. `users` holds what annotators said
        about themselves.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: a row is not what it should be; the message says where.

    Example:
        >>> folder = "community-alignment-dataset"
        >>> published = read_community_alignment(folder, language="en")  # doctest: +SKIP
    """
    pairs = PairCollector()
    users: dict[str, dict[str, object]] = {}
    seen: set[str] = set()
    files = data_files(locate(data, HOME))
    files = [file for file in files if "filtered" in file.name] or files
    for where, row in read_rows(files, _COLUMNS):
        if language is not None and row.get("assigned_lang") != language:
            pairs.counts["conversations in other languages"] += 1
            continue
        conversation = str(row["conversation_id"])
        if conversation in seen:
            pairs.counts["conversations dropped: duplicated"] += 1
            continue
        seen.add(conversation)
        pairs.counts["conversations"] += 1
        user = str(row["annotator_id"])
        users.setdefault(user, {name: row.get(name) for name in _ABOUT})
        _add(pairs, where, user, conversation, row)
    return pairs.finish(str(data), users)


def _add(pairs: PairCollector, where: str, user: str, name: str, row: Row) -> None:
    prompt: list[Message] = []
    opening = _cell(row.get("first_turn_prompt"))
    for number, turn in enumerate(_TURNS):
        text = _cell(row.get(f"{turn}_turn_prompt"))
        choice = _cell(row.get(f"{turn}_turn_preferred_response"))
        if not text and not choice:
            return
        letter = re.fullmatch(r"(?:response_)?([a-d])", choice)
        if choice and letter is None:
            got = f"{turn}_turn_preferred_response is {choice!r}"
            raise ValueError(f"{where}: {got}: response_a to response_d is expected")
        replies = {key: _cell(row.get(f"{turn}_turn_response_{key}")) for key in _LETTERS}
        if not text or letter is None or not replies[letter[1]]:
            pairs.counts["conversations cut: a turn without a prompt or a preferred reply"] += 1
            return
        chosen = require_text(where, f"{turn}_turn_response_{letter[1]}", replies.pop(letter[1]))
        prompt.append(Message("user", text))
        rejected = [reply for reply in replies.values() if reply]
        if not rejected:
            pairs.counts["turns without a rejected reply"] += 1
        for other in rejected:
            about = {"conversation": name, "turn": number, "language": row.get("assigned_lang")}
            pairs.add(where, user, opening, prompt, chosen, other, **about)
        if set(rejected) - {chosen}:
            pairs.chose(user, opening, prompt, chosen, rejected)
        prompt.append(Message("assistant", chosen))


def _cell(value: object) -> str:
    """A cell as text; missing ones are empty (CSV) or null (Parquet)."""
    return value.removesuffix(_END_OF_TEXT).strip() if isinstance(value, str) else ""
