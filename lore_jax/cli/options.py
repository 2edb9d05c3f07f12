"""Options that several commands share."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

_HASH = re.compile(r"[0-9a-f]{64}")

# What comparisons may repeat or leave out, by its name in results, in words.
_LEFT_OUT = {
    "duplicated_rows": "duplicated rows, kept",
    "removed_statements": "statements removed by moderators",
    "replaced_votes": "votes replaced by a later one",
    "replaced_ratings": "ratings replaced by a later one",
    "bad_rows": "bad rows, skipped",
}


@dataclasses.dataclass(frozen=True)
class UserNames:
    """How users are called in what is written.

    Attributes:
        hash_ids: keep HMAC-SHA256 of the users' names instead of the names, and no further columns.
        hash_key: a file whose bytes are the secret key of the hash; without one, a guessed name can
            be checked.
    """

    hash_ids: bool = False
    hash_key: Path | None = None

    def apply(self, user_ids: Iterable[object]) -> list[str]:
        """The names to write."""
        from lore_jax.export.parquet import hash_user_ids
        from lore_jax.storage.files import read_whole

        if self.hash_key is not None and not self.hash_ids:
            raise ValueError("--hash-key is given without --hash-ids")
        if not self.hash_ids:
            return [str(name) for name in user_ids]
        key = b"" if self.hash_key is None else read_whole(self.hash_key)
        if self.hash_key is not None and not key:
            raise ValueError(f"{self.hash_key} is empty: a secret is expected in it")
        names = [str(name) for name in user_ids]
        if names and all(map(_HASH.fullmatch, names)):
            raise ValueError("--hash-ids is given, but the users' names are hashes already")
        return hash_user_ids(names, key).tolist()


def are_polis(sources: Sequence[Path]) -> bool:
    """Whether the sources are Polis folders, and not one file of comparisons."""
    if not sources:
        raise ValueError("no source is given: a file of comparisons or a Polis folder is expected")
    if not sources[0].is_dir() and len(sources) > 1:
        expected = "one file, or Polis folders, are expected"
        raise ValueError(f"{len(sources)} sources are given: {expected}")
    # What `datasets` saves is a folder too, of rows.
    saved = ("state.json", "dataset_dict.json")
    return sources[0].is_dir() and not any((sources[0] / name).is_file() for name in saved)


def left_out_lines(result: Mapping[str, object]) -> list[str]:
    """What comparisons repeat or leave out, and what must be said beside their numbers."""
    text = [f"  {result[name]:,} {text}" for name, text in _LEFT_OUT.items() if result.get(name)]
    text += [f"    {problem}" for problem in cast("list[str]", result.get("first_bad_rows", []))]
    return [*text, f"  {result['note']}"] if result["note"] else text
