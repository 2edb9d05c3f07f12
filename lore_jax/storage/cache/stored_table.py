"""A table that stays in the files of its cache, for tables larger than memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int


class StoredShard(NamedTuple):
    """Where some rows of a table lie.

    Attributes:
        path: the file.
        offset: of the first of these rows in it, in bytes.
        rows: how many.
    """

    path: Path
    offset: int
    rows: int


class StoredTable:
    """Rows of a table in files; each is read when it is asked for, and not kept.

    A map of the files would do the same, but what a process has looked at stays in its memory until
    the system wants it back. A fit reads it in blocks (`parallel/table_rows.py`).

    Args:
        shards: the parts of the table in order.
        dtype: of the embeddings.
        dim: their length.

    Example:
        >>> table = load_cache("cache").embeddings  # doctest: +SKIP
        >>> table[5:8].shape  # doctest: +SKIP
        (3, 4096)
    """

    ndim = 2

    def __init__(self, shards: Sequence[StoredShard], dtype: npt.DTypeLike, dim: int) -> None:
        self._shards, self.dtype = tuple(shards), np.dtype(dtype)
        self._ends = np.cumsum([shard.rows for shard in self._shards])
        self.shape = int(self._ends[-1]), dim

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        """Its sizes."""
        return f"StoredTable({self.shape[0]:,} responses, dim {self.shape[1]}, {self.dtype})"

    @property
    def nbytes(self) -> int:
        """Its size on disk."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __getitem__(
        self, rows: slice | Int[np.ndarray, "rows"] | int
    ) -> Float[np.ndarray, "*rows dim"]:
        """Reads rows: a slice, an array of row numbers, or one row."""
        if isinstance(rows, int | np.integer):
            return self[np.array([rows])][0]
        index = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index
        if len(index) and not -len(self) <= index.min() <= index.max() < len(self):
            raise IndexError(f"rows {index.min()} to {index.max()} of a table of {len(self)}")
        index = index % len(self)
        out = np.empty((len(index), self.shape[1]), self.dtype)
        # Rows that follow one another are read at once.
        breaks = np.flatnonzero(np.diff(index) != 1) + 1
        for low, high in zip([0, *breaks], [*breaks, len(index)], strict=True):
            if high > low:
                self._read(int(index[low]), out[low:high])
        return out

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """All of it, for who has the memory."""
        return self[:] if dtype is None else self[:].astype(dtype)

    def _read(self, first: int, into: Float[np.ndarray, "rows dim"]) -> None:
        number = int(np.searchsorted(self._ends, first, side="right"))
        while len(into):
            shard = self._shards[number]
            within = first - (int(self._ends[number]) - shard.rows)
            part, into = np.split(into, [shard.rows - within])
            read_into(shard.path, shard.offset + within * self._row_bytes, part)
            first, number = first + len(part), number + 1

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * self.dtype.itemsize


def read_into(path: str | os.PathLike[str], offset: int, into: Any) -> None:
    """Fills a contiguous array with the bytes of a file from `offset` on.

    Raises:
        ValueError: the file ends before.
    """
    target = into.reshape(-1).view(np.uint8).data
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        done = 0
        while done < len(target):
            count = file.readinto(target[done:])
            if not count:
                raise ValueError(f"{path} is truncated")
            done += count
