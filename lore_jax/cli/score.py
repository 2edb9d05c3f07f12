"""`lore-jax score`: what users think of candidate responses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lore_jax.cli.arguments import POSITIONAL

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Config:
    """Scores candidate responses for every user, prompt by prompt, and writes the best of each.

    Scores are in logits; only differences between the scores of one prompt mean anything.

    Attributes:
        model: a run, or a saved model (of `adapt`), with users.
        candidates: a cache (its prompts come from its texts; without texts all responses answer one
            prompt), or an array, .npy or .safetensors, whose rows answer one prompt.
        out: the .parquet or .jsonl file to write: user_id, prompt, rank, response (row), score and,
            if known, reply.
        top_k: how many of the best of each prompt; None: all candidates.
        overwrite: replace a file that is there.
    """

    model: Annotated[Path, POSITIONAL]
    candidates: Annotated[Path, POSITIONAL]
    out: Path
    top_k: int | None = 10
    overwrite: bool = False


def run(config: Config) -> dict[str, Any]:
    """Scores, and writes the file."""
    import numpy as np

    from lore_jax.cli.models import load_model, refuse_other_encoder
    from lore_jax.model.model import input_width
    from lore_jax.users.score import score

    if config.out.suffix not in (".parquet", ".jsonl"):
        raise ValueError(
            f"{config.out} ends in {config.out.suffix!r}: .parquet or .jsonl is expected"
        )
    if config.out.exists() and not config.overwrite:
        raise FileExistsError(
            f"{config.out} is there already: overwrite it explicitly or choose another file"
        )
    if config.top_k is not None and config.top_k < 1:
        raise ValueError(f"top_k is {config.top_k}: 1 or more is expected")
    loaded = load_model(config.model)
    if loaded.users is None:
        raise ValueError(f"{config.model} has no users: `lore-jax adapt` makes some")
    if config.candidates.is_dir():
        refuse_other_encoder(loaded, config.candidates)
    table, texts = _candidates(config.candidates)
    if table.shape[1] != input_width(loaded.model):
        raise ValueError(
            f"{config.candidates} has dim {table.shape[1]}, {config.model} was fitted on dim {input_width(loaded.model)}"
        )
    users = loaded.users
    names = np.arange(users.num_users) if users.user_ids is None else users.user_ids
    columns: dict[str, list[Any]] = {
        "user_id": [],
        "prompt": [],
        "rank": [],
        "response": [],
        "score": [],
    }
    for number, rows in enumerate(_by_prompt(texts, table.shape[0])):
        count = len(rows) if config.top_k is None else min(config.top_k, len(rows))
        best, place = score(loaded.model, users, table[rows], top_k=count)
        columns["user_id"].append(np.repeat(names.astype(str), count))
        columns["prompt"].append(np.full(users.num_users * count, number, np.int32))
        columns["rank"].append(np.tile(np.arange(1, count + 1, dtype=np.int32), users.num_users))
        columns["response"].append(rows[np.asarray(place)].reshape(-1))
        columns["score"].append(np.asarray(best, np.float32).reshape(-1))
    merged = {name: np.concatenate(parts) for name, parts in columns.items()}
    replies = [reply for _, reply in texts]
    _write(config.out, merged, replies)
    return {
        "out": str(config.out),
        "users": users.num_users,
        "candidates": table.shape[0],
        "prompts": number + 1,
        "rows": len(merged["score"]),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    return [
        f"{result['out']}: {result['rows']:,} rows",
        f"  {result['candidates']:,} candidates to {result['prompts']:,} prompts for {result['users']:,} users",
    ]


def _candidates(path: Path) -> tuple[Any, list[tuple[Any, str]]]:
    from lore_jax.datasets.formats.rows import load_embeddings
    from lore_jax.storage.cache.reader import load_cache, read_texts

    if path.is_dir():
        return load_cache(path).embeddings, list(read_texts(path))
    return load_embeddings(path), []


def _by_prompt(texts: list[tuple[Any, str]], count: int) -> Iterator[np.ndarray]:
    """The rows of each prompt's candidates, in the order in which prompts first occur."""
    import numpy as np

    if not texts:
        yield np.arange(count)
        return
    rows: dict[str, list[int]] = {}
    for row, (prompt, _) in enumerate(texts):
        rows.setdefault(json.dumps(prompt, sort_keys=True), []).append(row)
    for of_prompt in rows.values():
        yield np.array(of_prompt)


def _write(path: Path, columns: dict[str, np.ndarray], replies: list[str]) -> None:
    from lore_jax.storage.files import write_file

    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})
        if replies:
            reply = pyarrow.array(replies).take(pyarrow.array(columns["response"]))
            table = table.append_column("reply", reply)
        content = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, content)
        write_file(path, [memoryview(content.getvalue())])
        return

    def rows() -> Iterator[bytes]:
        for values in zip(*(column.tolist() for column in columns.values()), strict=True):
            row = dict(zip(columns, values, strict=True))
            if replies:
                row["reply"] = replies[row["response"]]
            yield json.dumps(row).encode() + b"\n"

    write_file(path, rows())
