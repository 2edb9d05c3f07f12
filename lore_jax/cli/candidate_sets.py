"""The candidate responses that `score` and `pick` take, prompt by prompt, and the files they write.

Candidates are a cache, an array whose rows answer one prompt, or rows of texts to embed.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from lore_jax.cli.models import (
    LoadedModel,
    load_own_encoder,
    refuse_other_encoder,
    user_numbers,
)
from lore_jax.datasets.formats.arrays import load_embeddings
from lore_jax.datasets.formats.records import read_records, require_columns
from lore_jax.model.basis import input_width
from lore_jax.model.posterior import Posterior
from lore_jax.steering.texts import conversation
from lore_jax.storage.cache.reader import load_cache, read_texts
from lore_jax.storage.files import refuse_existing, write_file

if TYPE_CHECKING:
    Texts = Sequence[tuple[object, str]]  # the prompt, a text or messages, and the reply

_TEXT_FILES = (".jsonl", ".parquet")


class CandidateSet(NamedTuple):
    """The replies to one prompt: their rows in the table, and for whom; None: everybody."""

    rows: Int[np.ndarray, " candidates"]
    users: Int[np.ndarray, " some"] | None


class CandidateSets(NamedTuple):
    """A table of responses, the replies to each prompt, and the texts of the table, if known.

    Beside them the users whom a model knows, and their names.
    """

    users: Posterior
    names: Shaped[np.ndarray, " users"]
    table: Float[np.ndarray, "responses dim"]
    sets: list[CandidateSet]
    replies: list[str]


def refuse_target(out: Path, *, overwrite: bool) -> None:
    """Refuses to write what is neither Parquet nor JSONL, or over a file that is there.

    Raises:
        ValueError: the name ends otherwise.
        FileExistsError: it is there, and is not to be replaced.
    """
    if out.suffix not in (".parquet", ".jsonl"):
        raise ValueError(f"{out} ends in {out.suffix!r}: .parquet or .jsonl is expected")
    refuse_existing(out, overwrite)


def read_candidates(source: Path, loaded: LoadedModel, encoder: Path | None) -> CandidateSets:
    """Reads candidates, or embeds them.

    Args:
        source: a cache, an array in a file, or rows of texts.
        loaded: the model whose encoder, dim and users they must fit.
        encoder: the folder of the encoder; for texts alone, and needed there.

    Raises:
        ValueError: one line says what does not fit, and in which row.
    """
    if (users := loaded.users) is None:
        raise ValueError(f"{loaded.path} has no users: `lore-jax adapt` makes some")
    if encoder is not None and source.suffix not in _TEXT_FILES:
        expected = f"rows of texts ({', '.join(_TEXT_FILES)})"
        raise ValueError(f"encoder is given for {source}: only {expected} are embedded")
    texts: Texts = []
    if source.suffix in _TEXT_FILES and not source.is_dir():
        asked = _read_texts(source, user_numbers(users))
        if encoder is None:
            raise ValueError(f"{source} holds texts: --encoder must name the model's folder")
        own = load_own_encoder(loaded, encoder)
        texts = [(row.prompt, reply) for row in asked for reply in row.replies]
        table = own.encode([conversation(prompt, reply) for prompt, reply in texts])  # pyright: ignore[reportArgumentType]
        stops = np.cumsum([len(row.replies) for row in asked])
        parts = np.split(np.arange(len(texts)), stops[:-1])
        sets = [CandidateSet(rows, row.users) for rows, row in zip(parts, asked, strict=True)]
    elif source.is_dir():
        refuse_other_encoder(loaded, source)
        table, texts = np.asarray(load_cache(source).embeddings), list(read_texts(source))
        sets = _by_prompt(texts, table.shape[0])
    else:
        table = load_embeddings(source)
        sets = _by_prompt(texts, table.shape[0])
    if table.shape[1] != (dim := input_width(loaded.model.params)):
        raise ValueError(
            f"{source} has dim {table.shape[1]}, {loaded.path} was fitted on dim {dim}"
        )
    names = np.array(list(user_numbers(users)))
    return CandidateSets(users, names, table, sets, [reply for _, reply in texts])


class _Asked(NamedTuple):
    """A row of texts: a prompt, the candidate replies, and for whom; None: everybody."""

    prompt: str | list[dict[str, str]] | None
    replies: list[str]
    users: Int[np.ndarray, " some"] | None


def _read_texts(path: Path, numbers: Mapping[str, int]) -> list[_Asked]:
    """Rows of prompt, replies and, optionally, user_id; one line says what a row lacks."""
    asked = []
    for where, row in read_records(path):
        require_columns(where, row, ("prompt", "replies"))
        prompt, replies, users = row["prompt"], row["replies"], None
        if not isinstance(replies, list) or not replies:
            got = f"{len(replies)} texts" if isinstance(replies, list) else repr(replies)[:60]
            raise ValueError(f"{where}: replies is {got}: a list of 1 or more is expected")
        try:
            for number, reply in enumerate(replies):
                conversation(prompt, reply, f"reply {number}")  # pyright: ignore[reportArgumentType]
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        if (named := row.get("user_id")) is not None:
            named = named if isinstance(named, list) else [named]
            if unknown := [name for name in named if str(name) not in numbers]:
                raise ValueError(f"{where}: user {unknown[0]!r} has no weights in the model")
            users = np.array([numbers[str(name)] for name in named], np.int64)
        asked.append(_Asked(prompt, replies, users))  # pyright: ignore[reportArgumentType]
    return asked


def _by_prompt(texts: Texts, count: int) -> list[CandidateSet]:
    """The rows of each prompt's candidates, in the order in which prompts first occur."""
    if not texts:
        return [CandidateSet(np.arange(count), None)]
    rows: dict[str, list[int]] = collections.defaultdict(list)
    for row, (prompt, _) in enumerate(texts):
        rows[json.dumps(prompt, sort_keys=True)].append(row)
    return [CandidateSet(np.array(prompt_rows), None) for prompt_rows in rows.values()]


def write_rows(path: Path, columns: Mapping[str, np.ndarray], replies: Sequence[str]) -> None:
    """Writes columns as rows; with the reply of each row's `response` where replies are known."""
    if path.suffix == ".parquet":
        import pyarrow.parquet

        table = pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})
        if replies:
            reply = pyarrow.array(replies).take(pyarrow.array(columns["response"]))
            table = table.append_column("reply", reply)
        content = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, content)
        write_file(path, [memoryview(content.getvalue())])
        return

    def lines_of_json() -> Iterator[bytes]:
        for values in zip(*(column.tolist() for column in columns.values()), strict=True):
            row = dict(zip(columns, values, strict=True))
            if replies:
                row["reply"] = replies[row["response"]]
            yield json.dumps(row).encode() + b"\n"

    write_file(path, lines_of_json())
