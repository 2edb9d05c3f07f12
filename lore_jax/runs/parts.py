"""The resumable loop over parts (data sets, splits, seeds): one file a part, made once.

A part's compiled programs are of no use to the next part, whose data have other shapes, and stay
in memory all the same: some 7,000 memory maps for a split of a Polis conversation. Linux allows a
process `vm.max_map_count` of them, 65,530 by default, and a compiler that gets no more ends the
process. So programs are dropped before a part begins, as soon as a third of the limit is in use.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import jax
from tqdm import tqdm

from lore_jax.evaluation.results import plain, read_results, write_results
from lore_jax.evaluation.schema import Results

_MAPS = Path("/proc/self/maps")
_MAX_MAPS = Path("/proc/sys/vm/max_map_count")
_SHARE = 1 / 3  # of the limit: the largest part needs another third


class Part(NamedTuple):
    """One part of an experiment.

    Attributes:
        name: of its file, without `.json`.
        settings: entries of its results that decide its numbers ("config", "seed", ...).
        make: makes its results; called only if the file is missing.
    """

    name: str
    settings: Mapping[str, object]
    make: Callable[[], Results]


def run_parts(folder: Path, parts: Sequence[Part], *, description: str) -> list[Results]:
    """Makes the parts whose files are missing, and reads all of them.

    Args:
        folder: where the files are, and are written.
        parts: in the order in which they are made.
        description: of the progress bar.

    Returns:
        The results of each part, as read from its file.

    Raises:
        ValueError: a file was made with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for part in tqdm(parts, desc=description, disable=None):
        path, settings = folder / f"{part.name}.json", plain(part.settings)
        if not path.exists():
            drop_programs_if_many()
            write_results(path, cast(Results, {**part.make(), **settings}))
        stored = read_results(path)
        differing = [name for name, value in settings.items() if stored.get(name) != value]
        if differing:
            raise ValueError(
                f"{path} was made with other settings ({', '.join(differing)}): "
                "remove it, or give another --out"
            )
        results.append(stored)
    return results


def drop_programs_if_many(share: float = _SHARE) -> bool:
    """Drops all compiled programs if this process uses much of its memory maps.

    Args:
        share: of the limit, from which on programs are dropped.

    Returns:
        Whether they were dropped; False where the system counts no maps.
    """
    if not (_MAPS.exists() and _MAX_MAPS.exists()):
        return False
    if num_maps() < share * int(_MAX_MAPS.read_text()):
        return False
    jax.clear_caches()
    gc.collect()
    return True


def num_maps() -> int:
    """The number of memory maps of this process, on Linux."""
    with open(_MAPS, "rb") as lines:
        return sum(1 for _ in lines)
