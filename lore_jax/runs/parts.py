"""The resumable loop over parts (data sets, splits, seeds): one file a part, made once.

A part's compiled programs are of no use to the next part, whose data have other shapes: they are
dropped before a part begins, once they use much of the memory maps (`compiled_programs`). Results
wait on disk until all parts are made: what a hundred of them hold is as much as a fit takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from tqdm import tqdm

from lore_jax.evaluation.results import plain, read_results, write_results
from lore_jax.evaluation.schema import Results
from lore_jax.parallel.compiled_programs import drop_programs_if_many
from lore_jax.parallel.freed_memory import give_back_freed_memory

_MUCH = 2**26  # bytes of results, eight times as large in memory, for which programs make room


class Part(NamedTuple):
    """One part of an experiment.

    Attributes:
        name: of its file, without `.json`; with a `/`, in a folder of its own.
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
    files = [(folder / f"{part.name}.json", plain(part.settings)) for part in parts]
    made = [file for file in files if file[0].exists()]
    if len(made) < len(files):  # what was made with other settings is refused before more is made
        for path, settings in made:
            _read(path, settings)
    for part, (path, settings) in zip(
        tqdm(parts, desc=description, disable=None), files, strict=True
    ):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            drop_programs_if_many()
            write_results(path, cast(Results, {**part.make(), **settings}))
    if sum(path.stat().st_size for path, _ in files) > _MUCH:
        drop_programs_if_many(share=0.0)
        give_back_freed_memory()
    return [_read(path, settings) for path, settings in files]


def _read(path: Path, settings: Mapping[str, object]) -> Results:
    """A part's results, made with these settings."""
    stored = read_results(path)
    differing = [name for name, value in settings.items() if stored.get(name) != value]
    if differing:
        raise ValueError(
            f"{path} was made with other settings ({', '.join(differing)}): "
            "remove it, or give another --out"
        )
    return stored
