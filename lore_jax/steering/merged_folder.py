"""Merged adapters on disk: one folder a user, as PEFT loads it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
from jaxtyping import Float

from lore_jax.steering.adapters import CONFIG, WEIGHTS
from lore_jax.steering.merge import Merger
from lore_jax.storage.files import canonical_json, sync_folder, write_file
from lore_jax.storage.safetensors import make_header

USERS = "users.jsonl"
_WRITERS = 4  # a file waits for the disk most of the time


class MergeReport(NamedTuple):
    """What was written.

    Attributes:
        path: the folder.
        users: how many adapters.
        bytes: of all their data.
        error: distance from the weighted sum of the deltas relative to its size, the mean and the
            largest of the users it was computed of.
    """

    path: Path
    users: int
    bytes: int
    error: tuple[float, float]


def write_merged(
    out: str | os.PathLike[str],
    merger: Merger,
    weights: Float[np.ndarray, "users adapters"],
    user_ids: Sequence[object] | None = None,
) -> MergeReport:
    """Merges and writes everybody's adapter: `OUT/USER/` with adapter_model.safetensors.

    `OUT/users.jsonl` has a line a user: name, folder, weights and, where computed, the error. All
    is written beside `out` and renamed at the end: a run that is stopped leaves no half of it.

    Args:
        out: the folder to make.
        merger: by `make_merger`.
        weights: by `mixing_weights`.
        user_ids: the users' names; None: their positions. What a folder's name cannot hold is
            percent-encoded.

    Returns:
        The `MergeReport`.

    Raises:
        FileExistsError: the folder is there already.
        ValueError: there are no users, or two have one name.
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> write_merged("adapters", merger, weights, ["ann", "bob"])  # doctest: +SKIP
    """
    out, users = Path(os.path.abspath(out)), len(weights)
    names = list(map(str, range(users) if user_ids is None else user_ids))
    if out.exists():
        raise FileExistsError(f"{out} is there already: choose another folder")
    if not users:
        raise ValueError("there are 0 users: 1 or more is expected")
    if len(set(names)) < users:
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"user {twice!r} is there twice: names that differ are expected")
    folders = [folder_of(name) for name in names]
    header = make_header({name: (merger.dtype, shape) for name, shape in merger.tensors.items()})
    config, temporary = canonical_json(merger.config), out.with_name(f".{out.name}.{os.getpid()}")
    errors, written = np.full(users, np.nan), 0

    def write(user: int, same: np.ndarray, row: np.ndarray) -> None:
        folder = temporary / folders[user]
        folder.mkdir()
        data = (part.view(np.uint8).data for part in (same, row) if part.size)
        _write(folder / WEIGHTS, [header, *data])
        _write(folder / CONFIG, [config])

    try:
        temporary.mkdir(parents=True)
        with ThreadPoolExecutor(_WRITERS) as pool:
            for merged in merger.merge(weights):
                same = [merged.same] * len(merged.users)
                list(pool.map(write, merged.users, same, merged.rows))
                errors[list(merged.users)] = merged.error
                written += merged.rows.nbytes + len(same) * merged.same.nbytes
        lines = zip(names, folders, weights.tolist(), errors.tolist(), strict=True)
        text = "".join(
            json.dumps(
                {"user_id": name, "folder": folder, "weights": own}
                | ({} if np.isnan(error) else {"error": round(error, 6)})
            )
            + "\n"
            for name, folder, own, error in lines
        )
        write_file(temporary / USERS, [text.encode()])
        os.sync()  # once for all files
        temporary.rename(out)
        sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    known = errors[~np.isnan(errors)]
    return MergeReport(out, users, written, (float(known.mean()), float(known.max())))


def folder_of(user: str) -> str:
    """The name of a user's folder: the user's, percent-encoded where it must be.

    Example:
        >>> folder_of("ann"), folder_of("polis/7"), folder_of("..")
        ('ann', 'polis%2F7', '%2E%2E')
    """
    name = quote(user, safe=" @+=,")
    return name if name.strip(".") else name.replace(".", "%2E") or "%"


def _write(path: Path, chunks: list[bytes | memoryview]) -> None:
    with open(path, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
