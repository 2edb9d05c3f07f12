"""Files of answers of any kind, one a row; the columns of a row say what it is.

    user_id, chosen, rejected                     a pair (texts, messages, or rows of an array)
      + strength                                  0: no preference, 1: slightly better, 2 ...
    user_id, responses, rank                      a ranking: 1 the best; null: unordered, behind
    user_id, responses, choice                    a choice: the position, from 0
    user_id, responses, best, worst               a best-worst choice, by positions
    user_id, response, rank                       a ranking, one row a response (of user and prompt)
    user_id, response, rating | label | vote      a rating (TRL's completion, label too)

Optional: prompt, prompt_id, weight. Rows of several kinds may stand in one file; a column that is
null or empty is not there. JSONL, Parquet and CSV (whose lists are JSON).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import Answers, answers, from_answers
from lore_jax.datasets.formats.cells import as_integer, as_list, as_order, as_weight, as_whole
from lore_jax.datasets.formats.messages import parse_comparison
from lore_jax.datasets.formats.ratings import (
    RESPONSE,
    levels_of_scores,
    prompt_of,
    rating_columns,
    rating_of,
    reply_of,
)
from lore_jax.datasets.formats.records import BadRows, Row, RowSource, read_records
from lore_jax.datasets.formats.rows import Response, ResponseTable, no_rows, response_row, row_name

_MOST_LEVELS = 11
_Said = tuple[Kind, list[int], int]


@dataclasses.dataclass(frozen=True, eq=False)
class ReadAnswers:
    """What a file of answers says; everything but the table.

    Attributes:
        blocks: the answers, one kind each.
        user_ids: the users' names, in the order of their first row.
        responses: the distinct (prompt, reply) to embed, or empty where rows name responses.
        note: one line of what was understood.
    """

    blocks: tuple[Answers, ...]
    user_ids: list[str]
    responses: list[Response]
    note: str


def holds_answers(row: Row) -> bool:
    """Whether a row says neither a pair nor a rating: a strength, a ranking, a choice.

    Example:
        >>> holds_answers({"user_id": "ann", "chosen": 0, "rejected": 1, "strength": 2})
        True
    """
    return not {"responses", "strength", "rank"}.isdisjoint(_given(row))


def read_answers(
    path: RowSource,
    num_responses: int | None = None,
    *,
    scale: tuple[int, int] | None = None,
    bad: BadRows | None = None,
) -> ReadAnswers:
    """Reads answers of texts, or of rows of an embedding array.

    Args:
        path: a JSONL, Parquet or CSV file.
        num_responses: the number of rows of the array; None: rows hold texts.
        scale: lowest and highest rating; None: those that occur. Ratings without a scale of few
            whole steps become seven levels of equal frequency.
        bad: what is done with rows that are not what they should be; None: they are refused.

    Returns:
        The answers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is not what it should be; the message says which, and the column.

    Example:
        >>> found = read_answers("answers.jsonl")  # doctest: +SKIP
        >>> found.note  # doctest: +SKIP
        '12,040 ratings 1-5 of 300 users on 2,000 responses'
    """
    bad = bad or BadRows(skip=False)
    reader = _Reader(num_responses, scale)
    for where, row in read_records(path, bad):
        try:
            reader.add(where, _given(row))
        except ValueError as error:
            bad.add(f"{where}: {error}")
    if not reader.users:
        raise no_rows(path, bad)
    return reader.finish(str(path))


class _Who(NamedTuple):
    where: str
    user: int
    prompt: int
    weight: float


class _Reader:
    """Numbers users, prompts and responses, and keeps what every row says."""

    def __init__(self, num_responses: int | None, scale: tuple[int, int] | None) -> None:
        self.table, self.num_responses, self.scale = ResponseTable(), num_responses, scale
        self.users: dict[str, int] = {}
        self.prompts: dict[Hashable, int] = {}
        self.said: list[tuple[_Who, Kind, list[int]]] = []
        self.strengths: list[tuple[_Who, list[int], int]] = []
        self.ratings: dict[tuple[int, int, int], tuple[_Who, float]] = {}
        self.ranked: dict[tuple[int, int], list[tuple[_Who, int, int]]] = {}

    def add(self, where: str, row: Row) -> None:
        """Takes one row."""
        if "user_id" not in row:
            raise ValueError(f"column 'user_id' is missing; found {', '.join(row)[:200]}")
        name, weight = row_name("user_id", row["user_id"]), as_weight(row.get("weight", 1.0))
        known = set(row) & {"chosen", "responses", *RESPONSE}
        if len(known) != 1:
            found = " and ".join(sorted(known)) or ", ".join(row)[:200]
            raise ValueError(f"one of chosen, responses and response is expected, found {found}")
        given = row_name("prompt_id", row["prompt_id"]) if "prompt_id" in row else None
        take = self._pair if "chosen" in row else self._several if "responses" in row else self._one
        items, prompt, keep = take(row)
        key = self.prompts.setdefault(given or prompt, len(self.prompts))
        who = _Who(where, self.users.setdefault(name, len(self.users)), key, weight)
        if isinstance(keep, Kind):
            self.said.append((who, keep, items))
        elif "chosen" in row:
            self.strengths.append((who, items, int(keep)))
        elif "rank" in row:
            self.ranked.setdefault((who.user, key), []).append((who, items[0], int(keep)))
        else:
            self.ratings[who.user, key, items[0]] = who, keep

    def _pair(self, row: Row) -> tuple[list[int], Hashable, Kind | float]:
        if "rejected" not in row:
            raise ValueError("column 'rejected' is missing beside chosen")
        if self.num_responses is None:
            prompt, *replies = parse_comparison(row)
            items = [self.table.row(prompt, reply) for reply in replies]
        else:
            items, prompt = [self._index(n, row[n]) for n in ("chosen", "rejected")], _key(row)
        if items[0] == items[1]:
            raise ValueError("chosen equals rejected")
        if "strength" not in row:
            return items, prompt, Kind("pair", 2, levels=2)
        return items, prompt, float(as_whole("strength", row["strength"], 0, _MOST_LEVELS // 2))

    def _several(self, row: Row) -> tuple[list[int], Hashable, Kind]:
        values = as_list("responses", row["responses"])
        count = len(values)
        if count < 2:
            raise ValueError(f"responses holds {count}: 2 or more are expected")
        if "rank" in row:
            order, places = as_order(as_list("rank", row["rank"]), count)
            kind = Kind("ranking", count, places=min(places, count - 1))
        elif "choice" in row:
            first = as_whole("choice", row["choice"], 0, count - 1)
            order = [first, *(i for i in range(count) if i != first)]
            kind = Kind("ranking", count, places=1)
        else:
            missing = [name for name in ("best", "worst") if name not in row]
            if missing:
                expected = "rank, choice, or best and worst are expected beside responses"
                raise ValueError(f"column {missing[0]!r} is missing: {expected}")
            best, worst = (as_whole(name, row[name], 0, count - 1) for name in ("best", "worst"))
            if best == worst:
                raise ValueError(f"best and worst are both {best}: they must differ")
            order = [best, *(i for i in range(count) if i not in (best, worst)), worst]
            kind = Kind("best_worst", count)
        if self.num_responses is None:
            prompt: Hashable = prompt_of(row["prompt"]) if "prompt" in row else ()
            items = [self._text("responses", value, prompt) for value in values]
        else:
            prompt, items = _key(row), [self._index("responses", value) for value in values]
        if len(set(items)) < count:
            raise ValueError("responses holds one twice: they must differ")
        return [items[i] for i in order], prompt, kind

    def _one(self, row: Row) -> tuple[list[int], Hashable, float]:
        column = next(name for name in RESPONSE if name in row)
        if "rank" in row:
            value = float(as_whole("rank", row["rank"], 1, 10**6))
        else:
            columns = rating_columns(row)
            if columns is None:
                raise ValueError(f"column 'rating' is missing beside {column}")
            value = rating_of(columns[1], row)
            if self.scale is not None:
                low, high = self.scale
                if value != int(value) or not low <= value <= high:
                    got = f"{columns[1]} is {value:g}"
                    raise ValueError(f"{got}: a whole number from {low} to {high} is expected")
        if self.num_responses is None:
            prompt: Hashable = prompt_of(row["prompt"]) if "prompt" in row else ()
            return [self._text(column, row[column], prompt)], prompt, value
        return [self._index(column, row[column])], _key(row), value

    def _index(self, column: str, value: object) -> int:
        assert self.num_responses is not None
        return response_row(column, as_integer(value), self.num_responses)

    def _text(self, column: str, value: object, prompt: Any) -> int:
        return self.table.row(prompt, reply_of(column, value))

    def finish(self, path: str) -> ReadAnswers:
        """Blocks of one kind each, and what was understood."""
        said: list[tuple[_Who, Kind, list[int], int]] = []
        for who, kind, items in self.said:
            said.append((who, kind, items, 1 if kind.name == "pair" else 0))
        said += _strengths(self.strengths)
        for rows in self.ranked.values():
            said.append(_ranking(rows))
        note = ""
        if self.ratings:
            rated, note = self._levels(path)
            said += rated
        kinds: dict[Kind, list[tuple[_Who, Kind, list[int], int]]] = {}
        for one in said:
            kinds.setdefault(one[1], []).append(one)
        blocks = tuple(_block(kind, rows) for kind, rows in kinds.items())
        count = self.num_responses or len(self.table.responses)
        table = np.zeros((count, 1), np.float16)
        understood = repr(from_answers(table, blocks, num_users=len(self.users)))
        return ReadAnswers(blocks, list(self.users), self.table.responses, understood + note)

    def _levels(self, path: str) -> tuple[list[tuple[_Who, Kind, list[int], int]], str]:
        """Ratings by levels from 0."""
        values = np.array([value for _, value in self.ratings.values()])
        distinct, note = np.unique(values), ""
        if self.scale is None and len(distinct) < 2:
            only = f"all {len(values):,} ratings are {distinct[0]:g}"
            raise ValueError(f"{path}: {only}: two levels or more are expected")
        low, high = self.scale or (distinct[0], distinct[-1])
        whole = np.all(values == np.round(values)) and high - low < _MOST_LEVELS
        if set(distinct.tolist()) <= {-1.0, 1.0} and self.scale is None:
            levels, count = (values > 0).astype(int), 2
        elif whole:
            levels, count = (values - low).astype(int), int(high - low) + 1
        else:
            levels, count = levels_of_scores(values)
            note = f"; scores {low:g} to {high:g} became {count} levels"
        kind = Kind("rating", 1, levels=count)
        rows = zip(self.ratings.items(), levels.tolist(), strict=True)
        return [(who, kind, [key[2]], level) for (key, (who, _)), level in rows], note


def _strengths(
    rows: Sequence[tuple[_Who, list[int], int]],
) -> list[tuple[_Who, Kind, list[int], int]]:
    """Strengths up to 1 are pairs, or pairs and ties; above, levels symmetric about 0."""
    most = max((strength for *_, strength in rows), default=0)
    if most <= 1:
        has_ties = any(strength == 0 for *_, strength in rows)
        kind = Kind("tie", 2, levels=3) if has_ties else Kind("pair", 2, levels=2)
        return [(who, kind, items, s + 1 if has_ties else 1) for who, items, s in rows]
    kind = Kind("strength", 2, levels=2 * most + 1)
    return [(who, kind, items, most + strength) for who, items, strength in rows]


def _ranking(rows: Sequence[tuple[_Who, int, int]]) -> tuple[_Who, Kind, list[int], int]:
    who, ranks = rows[0][0], [rank for *_, rank in rows]
    if len(rows) < 2:
        raise ValueError(
            f"{who.where}: a ranking of 1 response: 2 or more of a prompt are expected"
        )
    for row, rank in zip(rows, ranks, strict=True):
        if ranks.count(rank) > 1:
            raise ValueError(f"{row[0].where}: rank {rank} occurs twice for this user and prompt")
    items = [row[1] for row in sorted(rows, key=lambda row: row[2])]
    if len(set(items)) < len(items):
        raise ValueError(f"{who.where}: a response is ranked twice by this user")
    return who, Kind("ranking", len(items), places=len(items) - 1), items, 0


def _block(kind: Kind, rows: Sequence[tuple[_Who, Kind, list[int], int]]) -> Answers:
    who = [row[0] for row in rows]
    by_level = kind.levels > 0 and kind.name != "pair"
    return answers(
        kind,
        [row[2] for row in rows],
        [one.user for one in who],
        outcome=[row[3] for row in rows] if by_level else None,
        prompt=[one.prompt for one in who],
        weight=[one.weight for one in who],
    )


def _given(row: Row) -> Row:
    """Without the columns that are null or empty."""
    return {name: value for name, value in row.items() if value is not None and value != ""}


def _key(row: Row) -> Hashable:
    return json.dumps(row.get("prompt"), sort_keys=True, default=str)


def answers_are_indices(row: Row) -> bool:
    """Whether a row of answers names rows of an array, and holds no texts.

    Example:
        >>> answers_are_indices({"user_id": "ann", "responses": [3, 1], "choice": 0})
        True
    """
    row = _given(row)
    if "responses" in row:
        with contextlib.suppress(ValueError):  # of what is no list, where the row is read
            values = as_list("responses", row["responses"])
            return bool(values) and type(as_integer(values[0])) is int
        return False
    column = "chosen" if "chosen" in row else next((n for n in RESPONSE if n in row), None)
    return column is not None and type(as_integer(row[column])) is int
