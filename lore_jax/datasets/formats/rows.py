"""Preference files: JSONL or Parquet, one comparison a row, with who made it.

    text rows     user_id, prompt, chosen, rejected    strings or chat messages, as in TRL
    index rows    user_id, chosen, rejected            integers: rows of an array of embeddings

Optional columns: prompt_id (the group that a split keeps on one side), weight (of a pair), system.
Further columns of text rows are carried along. A row that is not what it should be is refused, and
the message says where it stands; duplicated rows are kept and counted.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from lore_jax.data.checks import LONGEST_NAME
from lore_jax.data.feedback import Answers
from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.datasets.formats.cells import as_weight
from lore_jax.datasets.formats.messages import Message, kind_of, parse_comparison, short
from lore_jax.datasets.formats.records import BadRows, Row, RowSource, read_records
from lore_jax.storage.cache.answers import answer_tensors

_COLUMNS = ("user_id", "prompt", "chosen", "rejected", "prompt_id", "weight", "system")


class Response(NamedTuple):
    """A text to embed.

    Attributes:
        prompt: the conversation up to the reply, `{"role": ..., "content": ...}` a turn.
        reply: the reply.
    """

    prompt: list[dict[str, str]]
    reply: str


class ResponseTable:
    """Numbers distinct (prompt, reply): equal texts share one row of the table.

    Attributes:
        responses: what to embed, row by row.

    Example:
        >>> table = ResponseTable()
        >>> prompt = (Message("user", "Name a colour."),)
        >>> [table.row(prompt, reply) for reply in ("Blue.", "Red.", "Blue.")]
        [0, 1, 0]
    """

    def __init__(self) -> None:
        self.responses: list[Response] = []
        # Equal prompts, which are often long, share one object.
        self._prompts: dict[tuple[Message, ...], list[dict[str, str]]] = {}
        self._number: dict[tuple[int, str], int] = {}

    def row(self, prompt: tuple[Message, ...], reply: str) -> int:
        """The row of a response, a new one if the table does not have it."""
        turns = self._prompts.setdefault(prompt, [message._asdict() for message in prompt])
        row = self._number.setdefault((id(turns), reply), len(self.responses))
        if row == len(self.responses):
            self.responses.append(Response(turns, reply))
        return row


@dataclasses.dataclass(frozen=True, eq=False)
class IndexPairs:
    """Comparisons whose responses are rows of a table; everything but the table.

    Attributes:
        chosen: row of the preferred response, int32 `[pairs]`, in the order of the file.
        rejected: row of the other response, int32 `[pairs]`.
        user: who compared, int32 `[pairs]`, an index into `user_ids`.
        prompt: what both responses answer, int32 `[pairs]`.
        pair_weight: how much a pair counts, float32 `[pairs]`.
        user_ids: the users' names, in the order of their first row.
        num_duplicates: rows that repeat an earlier one (the same user, chosen and rejected).
        note: what must be said beside every number from these pairs, or None.
        counts: what was replaced or left out, by name.
        answers: what was said where that is more than these pairs, or None.
        across_prompts: whether both sides of a pair may answer different prompts.
    """

    chosen: Int[np.ndarray, " pairs"]
    rejected: Int[np.ndarray, " pairs"]
    user: Int[np.ndarray, " pairs"]
    prompt: Int[np.ndarray, " pairs"]
    pair_weight: Float[np.ndarray, " pairs"]
    user_ids: list[str]
    num_duplicates: int
    note: str | None = dataclasses.field(default=None, kw_only=True)
    counts: dict[str, int] = dataclasses.field(default_factory=dict, kw_only=True)
    answers: tuple[Answers, ...] | None = dataclasses.field(default=None, kw_only=True)
    across_prompts: bool = dataclasses.field(default=False, kw_only=True)

    def preferences(
        self,
        embeddings: Float[np.ndarray | jax.Array, "responses dim"],
        *,
        head: Float[np.ndarray | jax.Array, " dim"] | None = None,
    ) -> Preferences:
        """The pairs over a table `[responses, dim]`, checked as `from_arrays` does."""
        return from_arrays(
            embeddings,
            self.chosen,
            self.rejected,
            self.user,
            prompt=self.prompt,
            pair_weight=self.pair_weight,
            user_ids=self.user_ids,
            head=head,
        )

    def cache_columns(self) -> dict[str, Any]:
        """What `CacheWriter.finish` takes of pairs, and of the answers that they were made of."""
        names = ("chosen", "rejected", "user", "prompt", "pair_weight", "user_ids", "note")
        answers = None if self.answers is None else answer_tensors(self.answers)
        return {**{name: getattr(self, name) for name in names}, "answers": answers}


@dataclasses.dataclass(frozen=True, eq=False)
class TextPairs(IndexPairs):
    """Comparisons of texts: the distinct responses to embed, and the pairs over them.

    Attributes:
        responses: the distinct (prompt, reply), row by row of the table that embedding them gives.
        extra: the further columns of each pair, or an empty list if there are none.
        labels: what to call each response in messages; None: by a pair that has it.
    """

    responses: list[Response]
    extra: list[dict[str, object]] = dataclasses.field(default_factory=list)
    labels: list[str] | None = None


# Of one row: chosen, rejected, and the prompt where prompt_id is absent.
_ParseRow = Callable[[Row], tuple[int, int, Hashable]]


def index_pairs(
    columns: Sequence[Sequence[int]] | Int[np.ndarray, "pairs 4"],
    user_ids: list[str],
    pair_weight: Sequence[float] | None = None,
) -> IndexPairs:
    """The pairs whose rows are (chosen, rejected, user, prompt); without weights each counts 1."""
    table = np.array(columns, np.int32).reshape(-1, 4)
    chosen, rejected, user, prompt = np.ascontiguousarray(table.T)
    weight = np.ones(len(table)) if pair_weight is None else np.asarray(pair_weight)
    num_duplicates = len(table) - len(np.unique(table[:, :3], axis=0))
    weight = weight.astype(np.float32)
    return IndexPairs(chosen, rejected, user, prompt, weight, user_ids, num_duplicates)


def read_text_pairs(path: RowSource, bad: BadRows | None = None) -> TextPairs:
    """Reads text rows; each distinct (prompt, reply) becomes one response.

    Args:
        path: a JSONL or Parquet file with the columns user_id, prompt, chosen, rejected.
        bad: what is done with rows that are not what they should be; None: they are refused.

    Returns:
        Responses and pairs. Without prompt_id, pairs whose prompts are the same texts share a
        prompt number.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is not what it should be; the message says which, and the column.

    Example:
        >>> pairs = read_text_pairs("pairs.jsonl")  # doctest: +SKIP
        >>> embed_pairs(pairs, "all-MiniLM-L6-v2", "cache")  # doctest: +SKIP
    """
    table = ResponseTable()
    extra: list[dict[str, object]] = []

    def parse(row: Row) -> tuple[int, int, Hashable]:
        prompt, *replies = parse_comparison(row)
        chosen, rejected = (table.row(prompt, reply) for reply in replies)
        extra.append({name: value for name, value in row.items() if name not in _COLUMNS})
        return chosen, rejected, prompt

    pairs = _read_pairs(path, parse, bad)
    return TextPairs(**vars(pairs), responses=table.responses, extra=extra if any(extra) else [])


def read_index_pairs(path: RowSource, num_responses: int, bad: BadRows | None = None) -> IndexPairs:
    """Reads index rows: comparisons between rows of an embedding array.

    Args:
        path: a JSONL or Parquet file with the columns user_id, chosen, rejected.
        num_responses: the number of rows of the array.
        bad: what is done with rows that are not what they should be; None: they are refused.

    Returns:
        The pairs; `preferences(embeddings)` joins them with the array. Without prompt_id, a prompt
        column of any kind says which pairs share a prompt; without either, all do.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is not what it should be; the message says which, and the column.

    Example:
        >>> table = load_embeddings("embeddings.npy")  # doctest: +SKIP
        >>> pairs = read_index_pairs("pairs.parquet", len(table))  # doctest: +SKIP
        >>> prefs = pairs.preferences(table)  # doctest: +SKIP
    """

    def parse(row: Row) -> tuple[int, int, Hashable]:
        chosen, rejected = (
            response_row(name, row[name], num_responses) for name in ("chosen", "rejected")
        )
        if chosen == rejected:
            raise ValueError(f"chosen equals rejected (row {chosen})")
        return chosen, rejected, json.dumps(row.get("prompt"), sort_keys=True, default=str)

    return _read_pairs(path, parse, bad)


def response_row(name: str, value: object, num_responses: int) -> int:
    """The number of a response: a row of the embeddings; the refusal begins with `name`."""
    if type(value) is not int:
        expected = "an integer, a row of the embeddings, is expected"
        raise ValueError(f"{name} is {kind_of(value)}: {expected}")
    if not 0 <= value < num_responses:
        outside = f"outside the embeddings of {num_responses} rows"
        raise ValueError(f"{name} is {short(value)}, {outside}")
    return value


def _read_pairs(path: RowSource, parse: _ParseRow, bad: BadRows | None) -> IndexPairs:
    users: dict[str, int] = {}
    prompts: dict[Hashable, int] = {}
    columns: list[tuple[int, int, int, int]] = []  # chosen, rejected, user, prompt
    weights: list[float] = []
    has_prompt_id, bad = None, bad or BadRows(skip=False)
    for where, row in read_records(path, bad):
        try:
            _check_columns(row)
            user_id = row_name("user_id", row["user_id"])
            weight = as_weight(row.get("weight", 1.0), texts=False)
            if (has_prompt_id is not None) and has_prompt_id != ("prompt_id" in row):
                state = "missing" if has_prompt_id else "given"
                raise ValueError(f"prompt_id is {state}, unlike in the rows before")
            prompt_id = row_name("prompt_id", row["prompt_id"]) if "prompt_id" in row else None
            chosen, rejected, prompt = parse(row)  # last: it numbers what it finds
        except ValueError as error:
            bad.add(f"{where}: {error}")
            continue
        has_prompt_id = prompt_id is not None
        user = users.setdefault(user_id, len(users))
        key = prompt if prompt_id is None else prompt_id
        columns.append((chosen, rejected, user, prompts.setdefault(key, len(prompts))))
        weights.append(weight)
    if not columns:
        raise no_rows(path, bad)
    return index_pairs(columns, list(users), weights)


def no_rows(path: RowSource, bad: BadRows) -> ValueError:
    """The error of a file without rows, or with bad ones alone."""
    reason = f"{bad.count} bad ones, the first: {bad.first[0]}" if bad.count else "one is expected"
    return ValueError(f"{path} holds no rows: {reason}")


def _check_columns(row: Row) -> None:
    needs_prompt = isinstance(row.get("chosen"), str)
    for name in ("user_id", "chosen", "rejected", *["prompt"] * needs_prompt):
        if name not in row:
            columns = ", ".join(map(repr, row)) or "nothing"
            further = [other for other in row if other not in _COLUMNS]
            near = difflib.get_close_matches(name, further, n=1)
            hint = f"; is {near[0]!r} meant for it?" if near else ""
            raise ValueError(f"column {name!r} is missing; found {columns[:200]}{hint}")


def row_name(column: str, value: object) -> str:
    """The name of a user or a prompt as a text: a text, an integer, or what else names things."""
    if isinstance(value, str) and value.strip():
        if len(value) > LONGEST_NAME:
            wanted = f"at most {LONGEST_NAME:,} are expected"
            raise ValueError(f"{column} has {len(value):,} characters: {wanted}")
        return value
    nameless = value is None or isinstance(value, str | bool | float)
    if not nameless and isinstance(value, Hashable):  # integers, UUIDs, dates, tuples
        return str(value)
    what = "empty" if isinstance(value, str) else kind_of(value)
    raise ValueError(f"{column} is {what}: a text or an integer is expected")
