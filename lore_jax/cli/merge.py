"""`lore-jax merge`: everybody's own LoRA adapter, merged from a few by users' weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lore_jax.cli.arguments import FLAT, POSITIONAL
from lore_jax.steering.mixing_weights import MergeConfig

if TYPE_CHECKING:
    import numpy as np

    from lore_jax.steering.adapters import Adapter


@dataclasses.dataclass(frozen=True)
class Config:
    """Merges PEFT LoRA adapters for every user, one folder a user, as PEFT loads it.

    Attributes:
        adapters: folders of the adapters (adapter_config.json, adapter_model.safetensors), one for
            each column of users' weights, in their order.
        users: whose weights: a run or a saved model (of `adapt`), or JSONL or Parquet rows of
            user_id and weights (a list in the order of the adapters, or an object from their
            folders' names).
        out: the folder to make, with a folder for each user and users.jsonl.
        columns: of a model's weights, one for each adapter, counted from 0; none: all.
        merge: how.
    """

    adapters: Annotated[tuple[Path, ...], POSITIONAL]
    users: Path
    out: Path
    columns: tuple[int, ...] = ()
    merge: Annotated[MergeConfig, FLAT] = dataclasses.field(default_factory=MergeConfig)


def run(config: Config) -> dict[str, object]:
    """Merges, and writes the folders."""
    from lore_jax.steering.adapters import read_adapter
    from lore_jax.steering.merge import make_merger
    from lore_jax.steering.merged_folder import write_merged
    from lore_jax.steering.mixing_weights import mixing_weights

    if config.out.exists():
        raise FileExistsError(f"{config.out} is there already: choose another folder")
    adapters = [read_adapter(folder) for folder in config.adapters]
    names, weights = _weights(config, adapters)
    mixed = mixing_weights(weights, config.merge, names)
    report = write_merged(config.out, make_merger(adapters, config.merge), mixed, names)
    return {
        "out": str(report.path),
        "users": report.users,
        "adapters": len(adapters),
        "method": config.merge.method,
        "bytes": report.bytes,
        "error_mean": report.error[0],
        "error_max": report.error[1],
    }


def lines(result: Mapping[str, object]) -> list[str]:
    """The result for people."""
    return [
        f"{result['out']}: {result['users']:,} adapters, {result['bytes']:,} bytes",
        f"  {result['method']} of {result['adapters']}; relative distance from the weighted sum of "
        f"what they change: {result['error_mean']:.2g} (at most {result['error_max']:.2g})",
    ]


def _weights(config: Config, adapters: list[Adapter]) -> tuple[list[str], np.ndarray]:
    """The users' names, and their weights, one column an adapter."""
    import numpy as np

    from lore_jax.cli.models import load_model

    if not config.users.exists():
        raise FileNotFoundError(f"{config.users} does not exist: a model or rows are expected")
    if config.users.is_dir():
        posterior = load_model(config.users).users
        if posterior is None:
            raise ValueError(f"{config.users} has no users: `lore-jax adapt` makes some")
        weights = np.asarray(posterior.weights)
        rank = weights.shape[1]
        columns = config.columns or tuple(range(rank))
        if outside := [column for column in columns if not 0 <= column < rank]:
            raise ValueError(f"columns holds {outside[0]}: 0 to {rank - 1} is expected")
        if len(columns) != len(adapters):
            text = f"{len(adapters)} adapters are given for {len(columns)} columns of weights"
            raise ValueError(f"{text} of {config.users}: one for each is expected (see --columns)")
        names = posterior.user_ids
        ids = range(len(weights)) if names is None else names
        return list(map(str, ids)), weights[:, columns]
    if config.columns:
        raise ValueError(f"columns is {config.columns}: only a model's weights have columns")
    return _rows_of_weights(config.users, adapters)


def _rows_of_weights(path: Path, adapters: list[Adapter]) -> tuple[list[str], np.ndarray]:
    import numpy as np

    from lore_jax.datasets.formats.messages import short
    from lore_jax.datasets.formats.records import read_records, require_columns

    folders = [adapter.path.name for adapter in adapters]
    names, weights = [], []
    for where, row in read_records(path):
        require_columns(where, row, ("user_id", "weights"))
        own = row["weights"]
        if isinstance(own, Mapping):
            if unknown := [name for name in own if name not in folders]:
                known = ", ".join(map(repr, folders))
                raise ValueError(f"{where}: {unknown[0]!r} is no adapter: {known} are given")
            own = [own.get(folder) or 0.0 for folder in folders]
        numbers = own if isinstance(own, list) else []
        is_whole = len(numbers) == len(folders) and row["user_id"] is not None
        if not is_whole or not all(map(_is_number, numbers)):
            expected = f"a user_id and {len(folders)} numbers, one an adapter, are expected"
            shown = f"user {short(row['user_id'])} has weights {short(own)}"
            raise ValueError(f"{where}: {shown}: {expected}")
        names.append(str(row["user_id"]))
        weights.append(numbers)
    return names, np.array(weights, np.float64).reshape(len(names), len(folders))


def _is_number(value: object) -> bool:
    """Whether float64 can hold it."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)
