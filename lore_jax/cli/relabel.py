"""`lore-jax relabel`: pairs of replies ordered and weighted for a user."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lore_jax.cli.arguments import POSITIONAL

if TYPE_CHECKING:
    from lore_jax.steering.relabel import Relabelled


@dataclasses.dataclass(frozen=True)
class Config:
    """Orders pairs of replies as a user would and weights them: data for personal DPO, as in TRL.

    Rows keep their columns; chosen and rejected change places where the user would choose the other
    one, and `probability`, `weight` (2 probability - 1) and `user_id` are written.

    Attributes:
        model: a run, or a saved model (of `adapt`), with users.
        pairs: JSONL or Parquet rows of prompt, chosen, rejected (texts or chat messages) and, if
            --user is not given, user_id.
        encoder: folder of the model that embedded what the fit was made of.
        out: the .jsonl file to write.
        user: for whom; None: each row's user_id.
        min_weight: pairs of a lower weight are left out.
        overwrite: replace a file that is there.
    """

    model: Annotated[Path, POSITIONAL]
    pairs: Annotated[Path, POSITIONAL]
    encoder: Path
    out: Path
    user: str | None = None
    min_weight: float = 0.0
    overwrite: bool = False


def run(config: Config) -> dict[str, object]:
    """Relabels, and writes the file."""
    import numpy as np

    from lore_jax.cli.models import load_model, load_own_encoder, user_numbers
    from lore_jax.datasets.formats.messages import parse_comparison
    from lore_jax.datasets.formats.records import read_records, require_columns
    from lore_jax.datasets.formats.rows import ResponseTable
    from lore_jax.steering.relabel import relabel
    from lore_jax.steering.texts import conversation
    from lore_jax.storage.files import refuse_existing, write_file

    if config.out.suffix != ".jsonl":
        raise ValueError(f"{config.out} ends in {config.out.suffix!r}: .jsonl is expected")
    if not 0.0 <= config.min_weight <= 1.0:
        raise ValueError(f"min_weight is {config.min_weight}: 0 to 1 is expected")
    refuse_existing(config.out, config.overwrite)
    loaded = load_model(config.model)
    if loaded.users is None:
        raise ValueError(f"{config.model} has no users: `lore-jax adapt` makes some")
    numbers = user_numbers(loaded.users)
    responses, rows, pairs = ResponseTable(), [], []
    for where, row in read_records(config.pairs):
        named = () if config.user is not None else ("user_id",)
        require_columns(where, row, ("chosen", "rejected", *named))
        user = config.user if config.user is not None else row["user_id"]
        if str(user) not in numbers:
            raise ValueError(f"{where}: user {user!r} is not among the users of {config.model}")
        try:
            compared = parse_comparison(row)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        sides = (responses.row(compared.prompt, own) for own in compared[1:])
        pairs.append((*sides, numbers[str(user)]))
        rows.append({**row, "user_id": str(user)})
    encoder = load_own_encoder(loaded, config.encoder)
    table = encoder.encode([conversation(*response) for response in responses.responses])
    first, second, users = np.array(pairs, np.int32).reshape(-1, 3).T
    found = relabel(loaded.model, loaded.users, table, first, second, users)
    kept = np.flatnonzero(found.weight >= config.min_weight)
    write_file(config.out, _lines(rows, found, kept.tolist()))
    return {
        "out": str(config.out),
        "pairs": len(rows),
        "written": len(kept),
        "swapped": int(found.swapped[kept].sum()),
        "weight_mean": float(found.weight[kept].mean()) if len(kept) else 0.0,
    }


def lines(result: Mapping[str, object]) -> list[str]:
    """The result for people."""
    return [
        f"{result['out']}: {result['written']:,} of {result['pairs']:,} pairs",
        f"  {result['swapped']:,} changed sides; mean weight {result['weight_mean']:.2f}",
    ]


def _lines(rows: list[dict[str, object]], found: Relabelled, kept: list[int]) -> Iterator[bytes]:
    for at in kept:
        row = dict(rows[at])
        if found.swapped[at]:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
        row["probability"] = round(float(found.probability[at]), 6)
        row["weight"] = round(float(found.weight[at]), 6)
        yield json.dumps(row, default=str).encode() + b"\n"
