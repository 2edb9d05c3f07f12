"""Users for other programs: weights, variances, shots and names as a Parquet table."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lore_jax.adapt import Posterior
from lore_jax.files import write_file


def hash_user_ids(user_ids: Iterable[Any], key: bytes = b"") -> np.ndarray:
    """Names that cannot be read back: `HMAC-SHA256(key, name)`, 64 hexadecimal digits; equal names stay equal.

    Args:
        user_ids: the users' names.
        key: a secret. Without one, whoever can guess a name (an e-mail address, a number) can check the guess.

    Returns:
        `[users]`, of str.

    Example:
        >>> hash_user_ids(["ann"], b"secret")[0][:8]
        'aad4e619'
    """
    return np.array([hmac.new(key, str(name).encode(), hashlib.sha256).hexdigest() for name in user_ids], dtype="U64")


def export_weights(
    path: str | os.PathLike[str],
    users: Posterior,
    *,
    hash_ids: bool = False,
    hash_key: bytes = b"",
    overwrite: bool = False,
) -> Path:
    """Writes one row a user to a Parquet file, whole or not at all.

    Columns: `user_id` (text; the user's number where users have no names), `weights` and `variance` (float32 lists of
    length rank: the mode, and the diagonal of the covariance there), `shots` and `converged`.

    Args:
        path: the file to make.
        users: what is known of the users.
        hash_ids: write `hash_user_ids` instead of the names.
        hash_key: the key for that.
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        FileExistsError: the file is there already.
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> pandas.read_parquet(export_weights("users.parquet", users)).columns.tolist()
        ['user_id', 'weights', 'variance', 'shots', 'converged']
    """
    import pyarrow
    import pyarrow.parquet

    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already: overwrite it explicitly or choose another file")
    weights = np.asarray(users.weights, np.float32)
    variance = np.ascontiguousarray(np.diagonal(np.asarray(users.covariance, np.float32), axis1=1, axis2=2))
    names = np.arange(users.num_users) if users.user_ids is None else users.user_ids
    names = hash_user_ids(names, hash_key) if hash_ids else names.astype(str)
    rank = weights.shape[1]
    table = pyarrow.table(
        {
            "user_id": pyarrow.array(names.tolist(), pyarrow.string()),
            "weights": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(weights.reshape(-1)), rank),
            "variance": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(variance.reshape(-1)), rank),
            "shots": pyarrow.array(np.asarray(users.shots, np.int32)),
            "converged": pyarrow.array(np.asarray(users.converged, bool)),
        }
    )
    content = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, content)
    write_file(path, [memoryview(content.getvalue())])
    return path
