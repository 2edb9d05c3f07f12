"""A session on disk: one Parquet file, one row an answer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lore_jax.model.model import Model
from lore_jax.storage.files import canonical_json, read_whole, refuse_existing, write_file
from lore_jax.users.session import Session

_COLUMNS = ("user", "chosen", "rejected", "time")
_METADATA = b"lore_jax.session"


def save_session(
    path: str | os.PathLike[str], session: Session, *, overwrite: bool = False
) -> Path:
    """Writes the answers of a session to a Parquet file, whole or not at all.

    Columns: `user` (its number), `chosen`, `rejected` (rows of the table), `time`. The users' names
    and a digest of the table are in the file's metadata.

    Args:
        path: the file to make.
        session: whose answers.
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        FileExistsError: the file is there already.

    Example:
        >>> session = Session(model, prefs.embeddings, users=["ann"])
        >>> save_session("session.parquet", session)
        PosixPath('session.parquet')
    """
    import pyarrow.parquet

    path, content = Path(path), session.to_dict()
    refuse_existing(path, overwrite)
    columns = {name: content.pop(name) for name in _COLUMNS}
    types = (pyarrow.int32(), pyarrow.int32(), pyarrow.int32(), pyarrow.float64())
    arrays = [pyarrow.array(*column) for column in zip(columns.values(), types, strict=True)]
    table = pyarrow.table(dict(zip(columns, arrays, strict=True)))
    table = table.replace_schema_metadata({_METADATA: canonical_json(content)})
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    write_file(path, [memoryview(sink.getvalue())])
    return path


def load_session(
    path: str | os.PathLike[str],
    model: Model,
    embeddings: Float[Array | np.ndarray, "responses dim"],
    candidates: ArrayLike | None = None,
    **options: Any,
) -> Session:
    """The session whose answers `save_session` wrote.

    Args:
        path: the file.
        model: a fitted model.
        embeddings: the same table.
        candidates: what may be asked from now on.
        options: as of `Session`, but `users`.

    Returns:
        The session.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no session, or one of another table; or a column or field is not
            what it should be.

    Example:
        >>> path = save_session("session.parquet", Session(model, prefs.embeddings, users=["ann"]))
        >>> load_session(path, model, prefs.embeddings).names.tolist()
        ['ann']
    """
    import pyarrow.parquet

    content = pyarrow.BufferReader(read_whole(Path(path)))
    try:
        table = pyarrow.parquet.ParquetFile(content).read()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is not a Parquet file: {reason}") from None
    nothing = f"{path} holds no session: a file of `save_session` is expected"
    if any(table.column_names.count(name) != 1 for name in _COLUMNS):
        raise ValueError(nothing)
    try:
        saved = json.loads((table.schema.metadata or {}).get(_METADATA, b""))
    except (ValueError, RecursionError):
        raise ValueError(nothing) from None
    if not isinstance(saved, dict):
        raise ValueError(nothing)
    saved |= {name: table[name].to_pylist() for name in _COLUMNS}
    try:
        return Session.from_dict(saved, model, embeddings, candidates, **options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
