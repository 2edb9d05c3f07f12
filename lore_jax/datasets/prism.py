"""PRISM: people of many countries score the replies of language models (Kirk et al. 2024).

`conversations.jsonl` has one dialogue a row: `conversation_id`, `user_id`, `conversation_history`,
a list of turns with `turn`, `role` ("user" or "model"), `content`, and for a model's reply `score`
(1 to 100) and `if_chosen`. The dialogue goes on from the chosen reply. `survey.jsonl` has one
person a row, by `user_id`. A pair sets the chosen reply of a turn against each other reply of that
turn; the group that a split keeps on one side is the dialogue. Beside the pairs the scores are kept
as ratings, in seven levels of equal frequency; of a turn without all scores, the choice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lore_jax.datasets.formats.collect import PairCollector, Published
from lore_jax.datasets.formats.hub import Home, locate
from lore_jax.datasets.formats.messages import Message, kind_of
from lore_jax.datasets.formats.records import (
    Row,
    data_files,
    read_rows,
    require_columns,
    require_text,
)

HOME = Home("HannahRoseKirk/prism-alignment", ("survey.jsonl", "conversations.jsonl"))

_COLUMNS = ("conversation_id", "user_id", "conversation_history")
_ABOUT = ("age", "gender", "education", "english_proficiency")


class _Reply(NamedTuple):
    text: str
    score: float | None
    chosen: bool


class _Turn(NamedTuple):
    where: str
    user: str
    replies: list[_Reply]


def read_prism(data: str | os.PathLike[str]) -> Published:
    """Reads dialogues and, where it is there, the survey.

    A turn whose chosen reply is missing ends its dialogue, because it is unknown which reply the
    dialogue goes on from. Such turns, turns without a rejected reply, and replies equal to the
    chosen one are counted.

    Args:
        data: a folder with `conversations.jsonl` and `survey.jsonl` (or the same as Parquet or by
            `datasets`), or `HannahRoseKirk/prism-alignment` to fetch them.

    Returns:
        The pairs. Columns: `dialogue`, `turn`, `chosen_score`, `rejected_score`. `users` holds age,
        gender, education, English proficiency and the region of residence.

    Raises:
        FileNotFoundError: there are no dialogues.
        ValueError: a row is not what it should be; the message says where.

    Example:
        >>> published = read_prism("prism-alignment")  # doctest: +SKIP
        >>> published.users["user0"]["gender"]  # doctest: +SKIP
        'Female'
    """
    root = locate(data, HOME)
    pairs = PairCollector()
    seen: dict[str, str] = {}
    for where, row in read_rows(data_files(root, "conversations"), _COLUMNS):
        name = require_text(where, "conversation_id", row["conversation_id"])
        content = json.dumps(row["conversation_history"], sort_keys=True, default=str)
        is_repeated = name in seen
        if seen.setdefault(name, content) != content:
            problem = "is given twice, with different histories"
            raise ValueError(f"{where}: conversation_id {name!r} {problem}")
        if is_repeated:
            pairs.counts["dialogues dropped: duplicated"] += 1
            continue
        pairs.counts["dialogues"] += 1
        user = require_text(where, "user_id", row["user_id"])
        _add(pairs, name, user, _turns(where, row["conversation_history"]))
    return pairs.finish(str(data), _read_survey(root))


def _add(pairs: PairCollector, name: str, user: str, turns: Iterator[_Turn]) -> None:
    prompt: list[Message] = []
    for number, turn in enumerate(turns):
        texts = {reply.text for reply in turn.replies if reply.chosen}
        if not turn.user or len(texts) != 1 or "" in texts:
            pairs.counts["dialogues cut: a turn without one prompt and one chosen reply"] += 1
            return
        prompt.append(Message("user", turn.user))
        chosen = next(reply for reply in turn.replies if reply.chosen)
        rejected = [reply for reply in turn.replies if not reply.chosen]
        if not rejected:
            pairs.counts["turns without a rejected reply"] += 1
        for other in rejected:
            is_tie = chosen.score is not None and chosen.score == other.score
            if is_tie and chosen.text != other.text:
                pairs.counts["pairs of equal scores, kept"] += 1
            scores = {"chosen_score": chosen.score, "rejected_score": other.score}
            about = {"dialogue": name, "turn": number, **scores}
            pairs.add(turn.where, user, name, prompt, chosen.text, other.text, **about)
        _add_as_said(pairs, name, user, prompt, turn)
        prompt.append(Message("assistant", chosen.text))


def _add_as_said(
    pairs: PairCollector, name: str, user: str, prompt: list[Message], turn: _Turn
) -> None:
    """The scores of a turn; where one is missing, the choice."""
    chosen = next(reply for reply in turn.replies if reply.chosen)
    others = [reply.text for reply in turn.replies if not reply.chosen]
    if not {text.strip() for text in others} - {"", chosen.text.strip()}:
        return
    scores = [(reply.text, reply.score) for reply in turn.replies if reply.score is not None]
    if len(scores) == len(turn.replies):
        pairs.rated(user, name, prompt, scores)
    else:
        pairs.chose(user, name, prompt, chosen.text, others)


def _turns(row: str, history: object) -> Iterator[_Turn]:
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        got = f"conversation_history is {kind_of(history)}"
        raise ValueError(f"{row}: {got}: a list of turns is expected")
    turns: dict[int, list[Row]] = {}
    for entry in history:
        require_columns(f"{row}, conversation_history", entry, ("turn", "role", "content"))
        if type(entry["turn"]) is not int or entry["role"] not in ("user", "model"):
            raise ValueError(
                f"{row}: a turn has number {entry['turn']!r} and role {entry['role']!r}: "
                "an integer, and user or model, are expected"
            )
        turns.setdefault(entry["turn"], []).append(entry)
    for number in sorted(turns):
        where = f"{row}, turn {number}"
        users = [entry["content"] for entry in turns[number] if entry["role"] == "user"]
        if len(users) != 1:
            raise ValueError(f"{where}: {len(users)} messages of the user: one is expected")
        user = require_text(where, "content", users[0], empty=True)
        replies = [_reply(where, entry) for entry in turns[number] if entry["role"] == "model"]
        yield _Turn(where, user, replies)


def _reply(where: str, entry: Row) -> _Reply:
    require_columns(f"{where}, a model's reply", entry, ("content", "if_chosen"))
    text = require_text(where, "content", entry["content"], empty=True)
    chosen, score = entry["if_chosen"], entry.get("score")
    if not isinstance(chosen, bool):
        raise ValueError(f"{where}: if_chosen is {kind_of(chosen)}: true or false is expected")
    if score is None:
        return _Reply(text, None, chosen)
    if not isinstance(score, int | float) or type(score) is bool or not 0 <= score <= 100:
        raise ValueError(f"{where}: score is {score!r}: a number from 1 to 100 is expected")
    return _Reply(text, score, chosen)


def _read_survey(root: Path) -> dict[str, dict[str, object]]:
    """What people said about themselves; empty without a survey."""
    try:
        files = [] if root.is_file() else data_files(root, "survey")
    except FileNotFoundError:
        files = []
    users: dict[str, dict[str, object]] = {}
    for where, row in read_rows(files, ("user_id",)):
        location = row.get("location")
        region = location.get("reside_region") if isinstance(location, dict) else None
        about = {name: row.get(name) for name in _ABOUT}
        users[require_text(where, "user_id", row["user_id"])] = {**about, "region": region}
    return users
