"""`lore-jax score`: every user's scores of candidate responses."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from lore_jax.cli.arguments import POSITIONAL

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int

    Texts = Sequence[tuple[object, str]]  # the prompt, a text or messages, and the reply


_TEXT_FILES = (".jsonl", ".parquet")


@dataclasses.dataclass(frozen=True)
class Config:
    """Scores candidate responses for every user, prompt by prompt, and writes the best of each.

    Scores are in logits; only differences between the scores of one prompt mean anything.

    Attributes:
        model: a run, or a saved model (of `adapt`), with users.
        candidates: a cache (its prompts come from its texts; without texts all responses answer one
            prompt), an array, .npy or .safetensors, whose rows answer one prompt, or texts: JSONL
            or Parquet rows of prompt (a text or chat messages; null: none) and replies (a list of
            texts), with user_id (a name or a list) where not everybody is meant.
        encoder: for texts, the folder of the model that embedded what the fit was made of.
        out: the .parquet or .jsonl file to write: user_id, prompt, rank, response (row), score and,
            if known, reply.
        top_k: how many of the best of each prompt; None: all candidates.
        overwrite: replace a file that is there.
    """

    model: Annotated[Path, POSITIONAL]
    candidates: Annotated[Path, POSITIONAL]
    out: Path
    encoder: Path | None = None
    top_k: int | None = 10
    overwrite: bool = False


def run(config: Config) -> dict[str, object]:
    """Scores, and writes the file."""
    import numpy as np

    from lore_jax.cli.models import (
        load_model,
        load_own_encoder,
        refuse_other_encoder,
        user_numbers,
    )
    from lore_jax.datasets.formats.arrays import load_embeddings
    from lore_jax.model.basis import input_width
    from lore_jax.steering.texts import conversation
    from lore_jax.storage.cache.reader import load_cache, read_texts
    from lore_jax.storage.files import refuse_existing
    from lore_jax.users.score import top_k

    out = config.out
    if out.suffix not in (".parquet", ".jsonl"):
        raise ValueError(f"{out} ends in {out.suffix!r}: .parquet or .jsonl is expected")
    refuse_existing(out, config.overwrite)
    if config.top_k is not None and config.top_k < 1:
        raise ValueError(f"top_k is {config.top_k}: 1 or more is expected")
    loaded = load_model(config.model)
    if (users := loaded.users) is None:
        raise ValueError(f"{config.model} has no users: `lore-jax adapt` makes some")
    source, texts = config.candidates, []
    if config.encoder is not None and source.suffix not in _TEXT_FILES:
        expected = f"rows of texts ({', '.join(_TEXT_FILES)})"
        raise ValueError(f"encoder is given for {source}: only {expected} are embedded")
    whose = None
    if source.suffix in _TEXT_FILES and not source.is_dir():
        asked = _read_texts(source, user_numbers(users))
        if config.encoder is None:
            raise ValueError(f"{source} holds texts: --encoder must name the model's folder")
        encoder = load_own_encoder(loaded, config.encoder)
        texts = [(row.prompt, reply) for row in asked for reply in row.replies]
        table = encoder.encode([conversation(prompt, reply) for prompt, reply in texts])
        stops = np.cumsum([len(row.replies) for row in asked])
        prompts = np.split(np.arange(len(texts)), stops[:-1])
        whose = [row.users for row in asked]
    elif source.is_dir():
        refuse_other_encoder(loaded, source)
        table, texts = np.asarray(load_cache(source).embeddings), list(read_texts(source))
        prompts = _by_prompt(texts, table.shape[0])
    else:
        table = load_embeddings(source)
        prompts = _by_prompt(texts, table.shape[0])
    if table.shape[1] != (dim := input_width(loaded.model.params)):
        raise ValueError(
            f"{source} has dim {table.shape[1]}, {config.model} was fitted on dim {dim}"
        )
    names = np.array(list(user_numbers(users)))
    parts: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for number, rows in enumerate(prompts):
        own = None if whose is None else whose[number]
        some = users if own is None else users.take(own)
        count = len(rows) if config.top_k is None else min(config.top_k, len(rows))
        scores, best = top_k(loaded.model, some, table[rows], count)
        parts["user_id"].append(np.repeat(names if own is None else names[own], count))
        parts["prompt"].append(np.full(some.num_users * count, number, np.int32))
        parts["rank"].append(np.tile(np.arange(1, count + 1, dtype=np.int32), some.num_users))
        parts["response"].append(rows[np.asarray(best)].reshape(-1))
        parts["score"].append(np.asarray(scores, np.float32).reshape(-1))
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    _write(out, columns, [reply for _, reply in texts])
    return {
        "out": str(out),
        "users": users.num_users,
        "candidates": table.shape[0],
        "prompts": len(prompts),
        "rows": len(columns["score"]),
    }


def lines(result: Mapping[str, object]) -> list[str]:
    """The result for people."""
    return [
        f"{result['out']}: {result['rows']:,} rows",
        f"  {result['candidates']:,} candidates to {result['prompts']:,} prompts "
        f"for {result['users']:,} users",
    ]


class _Asked(NamedTuple):
    """A row of texts: a prompt, the candidate replies, and for whom; None: everybody."""

    prompt: str | list[dict[str, str]] | None
    replies: list[str]
    users: Int[np.ndarray, " some"] | None


def _read_texts(path: Path, numbers: Mapping[str, int]) -> list[_Asked]:
    """Rows of prompt, replies and, optionally, user_id; one line says what a row lacks."""
    import numpy as np

    from lore_jax.datasets.formats.records import read_records, require_columns
    from lore_jax.steering.texts import conversation

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


def _by_prompt(texts: Texts, count: int) -> list[Int[np.ndarray, " candidates"]]:
    """The rows of each prompt's candidates, in the order in which prompts first occur."""
    import numpy as np

    if not texts:
        return [np.arange(count)]
    rows: dict[str, list[int]] = collections.defaultdict(list)
    for row, (prompt, _) in enumerate(texts):
        rows[json.dumps(prompt, sort_keys=True)].append(row)
    return [np.array(prompt_rows) for prompt_rows in rows.values()]


def _write(path: Path, columns: dict[str, np.ndarray], replies: list[str]) -> None:
    """Writes one row a score, with the reply where replies are known."""
    from lore_jax.storage.files import write_file

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
