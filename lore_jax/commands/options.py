"""Options that several commands share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class UserNames:
    """How users are called in what is written.

    Attributes:
        hash_ids: keep HMAC-SHA256 of the users' names instead of the names, and no further columns.
        hash_key: a file whose bytes are the secret key for that; without one, whoever guesses a name can check it.
    """

    hash_ids: bool = False
    hash_key: Path | None = None

    def apply(self, user_ids: Iterable[Any]) -> list[str]:
        """The names to write."""
        from lore_jax.export import hash_user_ids

        if self.hash_key is not None and not self.hash_ids:
            raise ValueError("--hash-key is given without --hash-ids")
        if not self.hash_ids:
            return [str(name) for name in user_ids]
        return hash_user_ids(user_ids, b"" if self.hash_key is None else self.hash_key.read_bytes()).tolist()
