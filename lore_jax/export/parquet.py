"""Users as a Parquet table, for other programs."""

from __future__ import annotations

import hashlib
import hmac
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from lore_jax.model.posterior import Posterior
from lore_jax.storage.files import refuse_existing, write_file

if TYPE_CHECKING:
    import pyarrow
    from _typeshed import ReadableBuffer


def hash_user_ids(user_ids: Iterable[object], key: bytes = b"") -> Shaped[np.ndarray, " users"]:
    """Names that cannot be read back: `HMAC-SHA256(key, name)`, 64 hexadecimal digits.

    Args:
        user_ids: the users' names; equal names stay equal.
        key: a secret. Without one, whoever can guess a name (an e-mail address, a number) can check
            the guess.

    Returns:
        `[users]`, of text.

    Example:
        >>> hash_user_ids(["ann"], b"secret")[0][:8]
        'aad4e619'
    """
    names = (str(name).encode() for name in user_ids)
    return np.array([hmac.new(key, name, hashlib.sha256).hexdigest() for name in names], "U64")


def export_weights(
    path: str | os.PathLike[str],
    users: Posterior | Iterable[Posterior],
    *,
    hash_ids: bool = False,
    hash_key: bytes = b"",
    overwrite: bool = False,
) -> Path:
    """Writes one row a user to a Parquet file, whole or not at all.

    Columns: `user_id` (text; the user's number where users have no names), `weights` and `variance`
    (float32 lists of length rank: the mode, and the diagonal of the covariance there), `shots` and
    `converged`.

    Args:
        path: the file to make.
        users: the users' posterior; or parts of it one after the other, each written before the
            next is asked for, as `adapt_cache` gives them. One row group a part.
        hash_ids: write `hash_user_ids` instead of the names.
        hash_key: the key for that.
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        FileExistsError: the file is there already.
        ValueError: there are no parts.
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> export_weights("users.parquet", posterior)
        PosixPath('users.parquet')
        >>> export_weights("many.parquet", (part for part in [users, posterior])).name
        'many.parquet'
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    parts = [users] if isinstance(users, Posterior) else users
    write_file(path, _parquet(parts, hash_key if hash_ids else None))
    return path


class _Sink(io.RawIOBase):
    """A file for Parquet's writer whose content is taken away while it is written."""

    def __init__(self) -> None:
        self._size = 0
        self._pending: list[bytes] = []

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, content: ReadableBuffer, /) -> int:
        self._pending.append(bytes(content))
        self._size += len(self._pending[-1])
        return len(self._pending[-1])

    def take(self) -> list[bytes]:
        taken, self._pending = self._pending, []
        return taken


def _parquet(parts: Iterable[Posterior], hash_key: bytes | None) -> Iterator[bytes]:
    import pyarrow.parquet

    sink, writer, num_written = _Sink(), None, 0
    for users in parts:
        names = users.user_ids
        if names is None:
            names = np.arange(num_written, num_written + users.num_users)
        num_written += users.num_users
        names = names.astype(str) if hash_key is None else hash_user_ids(names, hash_key)
        rows = _table(users, names)
        writer = writer or pyarrow.parquet.ParquetWriter(sink, rows.schema)
        writer.write_table(rows, row_group_size=max(1, users.num_users))
        yield from sink.take()
    if writer is None:
        raise ValueError("there are no parts of users to export: at least one is expected")
    writer.close()
    yield from sink.take()


def _table(users: Posterior, names: Shaped[np.ndarray, " users"]) -> pyarrow.Table:
    import pyarrow

    variance = np.diagonal(np.asarray(users.covariance), axis1=1, axis2=2)

    def lists(rows: np.ndarray) -> pyarrow.Array:
        values = pyarrow.array(np.ascontiguousarray(rows, np.float32).reshape(-1))
        return pyarrow.FixedSizeListArray.from_arrays(values, rows.shape[1])

    return pyarrow.table(
        {
            "user_id": pyarrow.array(names.tolist(), pyarrow.string()),
            "weights": lists(np.asarray(users.weights)),
            "variance": lists(variance),
            "shots": pyarrow.array(np.asarray(users.shots, np.int32)),
            "converged": pyarrow.array(np.asarray(users.converged, bool)),
        }
    )
