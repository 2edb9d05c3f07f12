"""`lore-jax score`: every user's scores of candidate responses."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lore_jax.cli.arguments import POSITIONAL

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int

    Texts = Sequence[tuple[object, str]]  # the prompt, a text or messages, and the reply


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


def run(config: Config) -> dict[str, object]:
    """Scores, and writes the file."""
    import numpy as np

    from lore_jax.cli.models import load_model, refuse_other_encoder
    from lore_jax.datasets.formats.rows import load_embeddings
    from lore_jax.model.basis import input_width
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
    if source.is_dir():
        refuse_other_encoder(loaded, source)
        table, texts = np.asarray(load_cache(source).embeddings), list(read_texts(source))
    else:
        table = load_embeddings(source)
    if table.shape[1] != (dim := input_width(loaded.model.params)):
        raise ValueError(
            f"{source} has dim {table.shape[1]}, {config.model} was fitted on dim {dim}"
        )
    num_users, prompts = users.num_users, _by_prompt(texts, table.shape[0])
    names = np.arange(num_users) if users.user_ids is None else users.user_ids
    parts: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for number, rows in enumerate(prompts):
        count = len(rows) if config.top_k is None else min(config.top_k, len(rows))
        scores, best = top_k(loaded.model, users, table[rows], count)
        parts["user_id"].append(np.repeat(names.astype(str), count))
        parts["prompt"].append(np.full(num_users * count, number, np.int32))
        parts["rank"].append(np.tile(np.arange(1, count + 1, dtype=np.int32), num_users))
        parts["response"].append(rows[np.asarray(best)].reshape(-1))
        parts["score"].append(np.asarray(scores, np.float32).reshape(-1))
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    _write(out, columns, [reply for _, reply in texts])
    return {
        "out": str(out),
        "users": num_users,
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
