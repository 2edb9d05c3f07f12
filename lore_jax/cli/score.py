"""`lore-jax score`: every user's scores of candidate responses."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from lore_jax.cli.arguments import POSITIONAL


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

    from lore_jax.cli.candidate_sets import read_candidates, refuse_target, write_rows
    from lore_jax.cli.models import load_model
    from lore_jax.users.score import top_k

    refuse_target(config.out, overwrite=config.overwrite)
    if config.top_k is not None and config.top_k < 1:
        raise ValueError(f"top_k is {config.top_k}: 1 or more is expected")
    loaded = load_model(config.model)
    candidates = read_candidates(config.candidates, loaded, config.encoder)
    users, names, table, sets, replies = candidates
    parts: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for number, (rows, own) in enumerate(sets):
        some = users if own is None else users.take(own)
        count = len(rows) if config.top_k is None else min(config.top_k, len(rows))
        scores, best = top_k(loaded.model, some, table[rows], count)
        parts["user_id"].append(np.repeat(names if own is None else names[own], count))
        parts["prompt"].append(np.full(some.num_users * count, number, np.int32))
        parts["rank"].append(np.tile(np.arange(1, count + 1, dtype=np.int32), some.num_users))
        parts["response"].append(rows[np.asarray(best)].reshape(-1))
        parts["score"].append(np.asarray(scores, np.float32).reshape(-1))
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    write_rows(config.out, columns, replies)
    return {
        "out": str(config.out),
        "users": users.num_users,
        "candidates": table.shape[0],
        "prompts": len(sets),
        "rows": len(columns["score"]),
    }


def lines(result: Mapping[str, object]) -> list[str]:
    """The result for people."""
    return [
        f"{result['out']}: {result['rows']:,} rows",
        f"  {result['candidates']:,} candidates to {result['prompts']:,} prompts "
        f"for {result['users']:,} users",
    ]
