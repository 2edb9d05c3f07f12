"""Preference files: JSONL or Parquet, one comparison a row, with who made it.

    text rows     user_id, prompt, chosen, rejected    strings or chat messages, as in TRL; to be embedded
    index rows    user_id, chosen, rejected            integers: rows of an embedding array you bring yourself

Optional columns: prompt_id (the group that splits must not cut), weight, system. Further columns of
text rows are carried along. A row that is not what it should be is refused with its place;
duplicated rows are kept and counted.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.datasets.formats.messages import Message, kind_of, parse_comparison
from lore_jax.datasets.formats.records import read_records
from lore_jax.storage.safetensors import map_tensor, read_header

_COLUMNS = ("user_id", "prompt", "chosen", "rejected", "prompt_id", "weight", "system")


class Response(NamedTuple):
    """A text to embed.

    Attributes:
        prompt: the conversation up to the reply, `{"role": ..., "content": ...}` a turn, as chat
            templates take it.
        reply: the reply.
    """

    prompt: list[dict[str, str]]
    reply: str


class ResponseTable:
    """Numbers distinct (prompt, reply) in the order in which they come: equal texts share one row
    of the table.

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
        self._prompts: dict[
            tuple[Message, ...], list[dict[str, str]]
        ] = {}  # one object for equal prompts, often long
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
        num_duplicates: rows that repeat an earlier one (the same user, chosen and rejected); they
            are kept.
    """

    chosen: np.ndarray
    rejected: np.ndarray
    user: np.ndarray
    prompt: np.ndarray
    pair_weight: np.ndarray
    user_ids: list[str]
    num_duplicates: int

    def preferences(self, embeddings: Any, *, head: Any = None) -> Preferences:
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


@dataclasses.dataclass(frozen=True, eq=False)
class TextPairs(IndexPairs):
    """Comparisons of texts: the distinct responses to embed, and the pairs over them.

    Attributes:
        responses: the distinct (prompt, reply), row by row of the table that embedding them gives.
        extra: the further columns of each pair, or an empty list if the file has none.
        places: what to call each response in messages; None: by a pair that has it.
        note: what must be said beside every number from these pairs, or None.
        counts: what was replaced or left out, by name.
    """

    responses: list[Response]
    extra: list[dict[str, Any]]
    places: list[str] | None = None
    note: str | None = None
    counts: dict[str, int] = dataclasses.field(default_factory=dict)


def holds_index_rows(path: str | os.PathLike[str]) -> bool:
    """Whether the first row of a file compares rows of an embedding array, and not texts.

    Args:
        path: a JSONL or Parquet file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no row.
    """
    for _, row in read_records(Path(path)):
        return type(row.get("chosen")) is int
    raise ValueError(f"{path} holds no rows: one comparison a row is expected")


def read_text_pairs(path: str | os.PathLike[str]) -> TextPairs:
    """Reads text rows; each distinct (prompt, reply) becomes one response.

    Args:
        path: a JSONL or Parquet file with the columns user_id, prompt, chosen, rejected.

    Returns:
        Responses and pairs. Without prompt_id, pairs whose prompts are the same texts share a
        prompt number.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is not what it should be; the message names file, line (or row) and
            column.

    Example:
        >>> pairs = read_text_pairs("pairs.jsonl")
        >>> table = embed(pairs.responses)
        >>> prefs = pairs.preferences(table)
    """
    table = ResponseTable()
    extra: list[dict[str, Any]] = []

    def parse(row: Mapping[str, Any]) -> tuple[int, int, Any]:
        comparison = parse_comparison(row)
        chosen, rejected = (
            table.row(comparison.prompt, reply)
            for reply in (comparison.chosen, comparison.rejected)
        )
        extra.append({name: value for name, value in row.items() if name not in _COLUMNS})
        return chosen, rejected, comparison.prompt

    columns = _read_pairs(Path(path), parse)
    return TextPairs(**columns, responses=table.responses, extra=extra if any(extra) else [])


def read_index_pairs(path: str | os.PathLike[str], num_responses: int) -> IndexPairs:
    """Reads index rows: comparisons between rows of an embedding array.

    Args:
        path: a JSONL or Parquet file with the columns user_id, chosen, rejected.
        num_responses: the number of rows of the array.

    Returns:
        The pairs; `preferences(embeddings)` joins them with the array. Without prompt_id, a prompt
        column of any kind says which pairs share a prompt; without either, all do.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is not what it should be; the message names file, line (or row) and
            column.

    Example:
        >>> table = load_embeddings("embeddings.npy")
        >>> prefs = read_index_pairs("pairs.parquet", len(table)).preferences(table)
    """

    def parse(row: Mapping[str, Any]) -> tuple[int, int, Any]:
        for name in ("chosen", "rejected"):
            if type(row[name]) is not int:
                raise ValueError(
                    f"{name} is {kind_of(row[name])}: an integer, a row of the embeddings, is expected"
                )
            if not 0 <= row[name] < num_responses:
                raise ValueError(
                    f"{name} is {row[name]}, outside the embeddings of {num_responses} rows"
                )
        if row["chosen"] == row["rejected"]:
            raise ValueError(f"chosen equals rejected (row {row['chosen']})")
        return (
            row["chosen"],
            row["rejected"],
            json.dumps(row.get("prompt"), sort_keys=True, default=str),
        )

    return IndexPairs(**_read_pairs(Path(path), parse))


def load_embeddings(path: str | os.PathLike[str]) -> np.ndarray:
    """Maps an embedding array into memory: a `.npy` file, or a `.safetensors` file with one array
    or one `embeddings`.

    Args:
        path: the file.

    Returns:
        `[responses, dim]`, read-only, of any floating type.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another kind of file, a damaged one, or an array of another shape or type.
    """
    return _load_array(Path(path), "embeddings", ("responses", "dim"))


def load_vector(path: str | os.PathLike[str]) -> np.ndarray:
    """Loads a reference head `[dim]` from a `.npy` file, or a `.safetensors` file with one array or
    one `head`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another kind of file, a damaged one, or an array of another shape or type.
    """
    return np.array(_load_array(Path(path), "head", ("dim",)), np.float32)


def _load_array(path: Path, name: str, axes: tuple[str, ...]) -> np.ndarray:
    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            # NumPy would advise to load it in a way that runs what it holds.
            why = "" if "pickle" in str(error) else f": {str(error).splitlines()[0]}"
            raise ValueError(f"{path} is not a whole .npy file of numbers{why}") from None
    elif path.suffix == ".safetensors":
        array = map_tensor(path, name if name in read_header(path) else None)
    else:
        raise ValueError(
            f"{path} ends in {path.suffix!r}: an array in .npy or .safetensors is expected"
        )
    if array.dtype.kind == "V" and array.dtype.name != "bfloat16":
        raise ValueError(
            f"{path} has the raw type {array.dtype}: .npy cannot keep bfloat16, save it as .safetensors"
        )
    if array.ndim != len(axes) or not (array.dtype.kind == "f" or array.dtype.name == "bfloat16"):
        expected = f"floats [{', '.join(axes)}] are expected"
        raise ValueError(f"{path} holds {array.dtype} {list(array.shape)}: {expected}")
    return array


def _read_pairs(
    path: Path, parse: Callable[[Mapping[str, Any]], tuple[int, int, Any]]
) -> dict[str, Any]:
    """The columns of `IndexPairs`; `parse` gives a row's chosen, rejected, and its prompt where
    prompt_id is absent.
    """
    users: dict[str, int] = {}
    prompts: dict[Any, int] = {}
    seen: set[tuple[int, int, int]] = set()
    chosen, rejected, user, prompt, weight = [], [], [], [], []
    has_prompt_id = None
    for place, row in read_records(path):
        try:
            _check_columns(row)
            one_chosen, one_rejected, one_prompt = parse(row)
            one_user = users.setdefault(_name("user_id", row["user_id"]), len(users))
            if has_prompt_id is None:
                has_prompt_id = "prompt_id" in row
            if has_prompt_id != ("prompt_id" in row):
                raise ValueError(
                    f"prompt_id is {'missing' if has_prompt_id else 'there'}, unlike in the rows before"
                )
            if has_prompt_id:
                one_prompt = _name("prompt_id", row["prompt_id"])
            one_weight = row.get("weight", 1.0)
            if type(one_weight) not in (int, float) or not 0 <= one_weight < float("inf"):
                raise ValueError(
                    f"weight is {one_weight!r}: a number, finite and 0 or more, is expected"
                )
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        seen.add((one_user, one_chosen, one_rejected))
        for column, value in (
            (chosen, one_chosen),
            (rejected, one_rejected),
            (user, one_user),
            (weight, one_weight),
        ):
            column.append(value)
        prompt.append(prompts.setdefault(one_prompt, len(prompts)))
    if not chosen:
        raise ValueError(f"{path} holds no rows: one comparison a row is expected")
    return {
        **{
            name: np.array(column, np.int32)
            for name, column in {
                "chosen": chosen,
                "rejected": rejected,
                "user": user,
                "prompt": prompt,
            }.items()
        },
        "pair_weight": np.array(weight, np.float32),
        "user_ids": list(users),
        "num_duplicates": len(chosen) - len(seen),
    }


def _check_columns(row: Mapping[str, Any]) -> None:
    needed = ["user_id", "chosen", "rejected"]
    if isinstance(row.get("chosen"), str):
        needed.append("prompt")
    for name in needed:
        if name not in row:
            found = ", ".join(map(repr, row)) or "nothing"
            near = difflib.get_close_matches(
                name, [other for other in row if other not in _COLUMNS], n=1
            )
            hint = f"; is {near[0]!r} meant for it?" if near else ""
            raise ValueError(f"column {name!r} is missing; found {found[:200]}{hint}")


def _name(column: str, value: Any) -> str:
    if type(value) is int or (isinstance(value, str) and value.strip()):
        return str(value)
    what = "empty" if isinstance(value, str) else kind_of(value)
    raise ValueError(f"{column} is {what}: a text or an integer is expected")
