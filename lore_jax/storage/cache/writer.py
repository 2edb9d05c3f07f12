"""Writes an embedding cache: a folder with the embedded responses, the pairs, and a manifest.

    manifest.json         format version, encoder, shapes; sha256 of every file and its own
    embeddings-00000...   the table in shards of equal numbers of rows, 64-byte aligned
    pairs.safetensors     chosen, rejected, user, prompt (int32), pair_weight (float32), as given
    users.json            the users' own names, if there are any
    head.safetensors      the reference head of the model that made the embeddings, if there is one
    texts.jsonl           prompt and reply of each response, optional
    extra.jsonl           further columns of each pair, optional
    answers.safetensors   what was said where that is more than pairs, optional

`CacheWriter` fills `NAME.partial` beside the folder and renames it at the end: a cache is there
whole or not at all. Loading checks every file against the manifest, so values are checked only when
they are written.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Shaped

from lore_jax.data.checks import check_head, first_not_finite
from lore_jax.data.preferences import from_arrays
from lore_jax.storage.cache.manifest import (
    ANSWERS,
    DTYPES,
    EXTRA,
    FORMAT_VERSION,
    HEAD,
    MANIFEST,
    PAIR_COLUMNS,
    PAIRS,
    PROGRESS,
    TEXTS,
    USERS,
    CacheManifest,
    Job,
    ShardEntry,
    StoredType,
    is_part_of_cache,
    read_progress,
    shard_name,
)
from lore_jax.storage.files import (
    FileEntry,
    canonical_json,
    find_corruption,
    locked,
    sync_folder,
    with_checksum,
    write_file,
    write_json_lines,
)
from lore_jax.storage.safetensors import write_tensors

# The rows of a shard are held in memory while it fills, and are lost if the process dies.
SHARD_BYTES = 256 * 2**20


class CacheWriter:
    """Writes a cache: rows shard by shard, then the pairs.

    An interrupted write is resumed by the same call with the same `inputs`: finished shards are
    kept and checked, and `rows_done` says from which row on to append. Without `inputs` nothing
    ties old shards to new rows: it starts again.

    Args:
        path: the folder to make; it may exist if it is empty.
        dim: the length of one embedding.
        dtype: float16, bfloat16 or float32, as stored; rows are converted.
        encoder: what made the embeddings (model, revision, template hash, pooling ...), any JSON
            object. Two caches whose encoders differ cannot be used together.
        inputs: a digest of what the rows are made from (the texts, or the array file).
        shard_bytes: the size of a shard.
        overwrite: replace a cache that is there, or an interrupted write of something else; a
            folder that holds anything but a cache is never touched.

    Raises:
        ValueError: an argument is not what it should be.
        FileExistsError: the folder holds something already.
        BlockingIOError: another process is writing this cache.

    Example:
        >>> with CacheWriter("cache", dim=384, dtype="float16", inputs=digest) as writer:
        ...     for start in range(writer.rows_done, len(texts), 1024):  # doctest: +SKIP
        ...         writer.append(embed(texts[start : start + 1024]))
        ...     writer.finish(chosen=chosen, rejected=rejected, user=user)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        dim: int,
        dtype: npt.DTypeLike,
        encoder: Mapping[str, object] | None = None,
        inputs: str | None = None,
        shard_bytes: int = SHARD_BYTES,
        overwrite: bool = False,
    ) -> None:
        dtype_name = np.dtype(dtype).name
        if dtype_name not in DTYPES:
            raise ValueError(f"dtype is {dtype_name}: float16, bfloat16 or float32 is expected")
        if dim < 1 or shard_bytes < 1:
            sizes = f"dim is {dim} and shard_bytes is {shard_bytes}"
            raise ValueError(f"{sizes}: both must be 1 or more")
        self.path = Path(os.path.abspath(path))
        self._partial, self._old, self._lock = (
            self.path.with_name(self.path.name + suffix) for suffix in (".partial", ".old", ".lock")
        )
        self._dtype = DTYPES[dtype_name]
        self._job = Job(
            encoder=json.loads(canonical_json(dict(encoder or {}))),
            inputs=inputs,
            dim=int(dim),
            dtype=cast(StoredType, dtype_name),
            rows_per_shard=max(1, int(shard_bytes) // (int(dim) * self._dtype.itemsize)),
        )
        self._overwrite = overwrite
        self._shards: list[ShardEntry] = []
        self._buffer: Shaped[np.ndarray, "rows dim"] | None = None
        self._buffered = 0
        self._open = contextlib.ExitStack()

    @property
    def rows_done(self) -> int:
        """Rows in finished shards, which a killed process keeps: after opening, the next row."""
        return sum(shard["rows"] for shard in self._shards)

    def __enter__(self) -> CacheWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self._lock))
            self._refuse_or_recover()
            self._start_or_resume()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with self._open:
            self._buffer = None
            if self._partial.exists() and (self._job["inputs"] is None or not self._shards):
                shutil.rmtree(self._partial)

    def _refuse_or_recover(self) -> None:
        # A writer that overwrites may be killed between its two renames.
        if self._old.exists() and not self.path.exists():
            os.rename(self._old, self.path)
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file: a new folder is expected")
        names = sorted(entry.name for entry in self.path.glob("*"))
        if unexpected := [name for name in names if not is_part_of_cache(name)]:
            content = f"{unexpected[0]!r}, which is no part of a cache"
            raise FileExistsError(f"{self.path} holds {content}: choose another folder")
        if names and not self._overwrite:
            advice = "overwrite it explicitly or choose another folder"
            raise FileExistsError(f"{self.path} holds a cache already: {advice}")

    def _start_or_resume(self) -> None:
        if (self._partial / PROGRESS).exists():
            progress = read_progress(self._partial)
            job, shards = progress["job"], progress["shards"]
            differing = [name for name, value in self._job.items() if job.get(name) != value]
            if job["inputs"] is not None and not differing:
                self._shards = list(itertools.takewhile(self._is_intact, shards))
            elif job["inputs"] is not None and not self._overwrite:
                rows = sum(shard["rows"] for shard in shards)
                raise FileExistsError(
                    f"{self._partial} holds an interrupted write of {rows} rows with other "
                    f"{', '.join(differing)}: finish that one first, or overwrite it explicitly"
                )
        self._partial.mkdir(exist_ok=True)
        keep = {shard["name"] for shard in self._shards}
        for entry in self._partial.iterdir():
            if entry.name not in keep:
                entry.unlink()
        try:
            self._write_progress()
        except OSError:
            if not self._shards:
                shutil.rmtree(self._partial)
            raise

    def _is_intact(self, shard: ShardEntry) -> bool:
        return find_corruption(self._partial, shard) is None

    def append(self, rows: Shaped[np.ndarray | Array, "rows dim"]) -> None:
        """Adds rows to the table; whole shards go to the disk as they fill.

        Args:
            rows: `[n, dim]`, NumPy (a memory map too) or JAX; converted to the cache's dtype.

        Raises:
            ValueError: another shape, or a value that is not finite in the cache's dtype (the
                message names row and column); finished shards stay.
        """
        dim, rows_per_shard = self._job["dim"], self._job["rows_per_shard"]
        shape = np.shape(rows)
        if len(shape) != 2 or shape[1] != dim:
            row = self.rows_done + self._buffered
            raise ValueError(f"rows have shape {shape}: [n, {dim}] is expected, from row {row} on")
        start = 0
        while start < shape[0]:
            if self._buffer is None:
                self._buffer = np.empty((rows_per_shard, dim), self._dtype)
            count = min(rows_per_shard - self._buffered, shape[0] - start)
            block = np.asarray(rows[start : start + count])
            target = self._buffer[self._buffered : self._buffered + count]
            with np.errstate(over="ignore", invalid="ignore"):
                target[...] = block.astype(self._dtype, copy=False)
            self._refuse_non_finite(target, block)
            self._buffered += count
            start += count
            if self._buffered == rows_per_shard:
                self._write_shard()

    def _refuse_non_finite(self, stored: np.ndarray, given: np.ndarray) -> None:
        if entry := first_not_finite(stored):
            row, column = entry
            value = given[row, column]
            reason = f", which {self._dtype.name} cannot hold" if np.isfinite(float(value)) else ""
            row += self.rows_done + self._buffered
            where = f"in column {column}{reason}"
            raise ValueError(f"embeddings row {row} holds {value} {where}: not finite")

    def _write_shard(self) -> None:
        assert self._buffer is not None
        name = shard_name(len(self._shards))
        record = write_tensors(self._partial / name, {"embeddings": self._buffer[: self._buffered]})
        self._shards.append(ShardEntry(name=name, rows=self._buffered, **record._asdict()))
        self._buffered = 0
        self._write_progress()

    def _write_progress(self) -> None:
        progress = with_checksum({"job": self._job, "shards": self._shards})
        write_file(self._partial / PROGRESS, [progress])

    def finish(
        self,
        *,
        chosen: npt.ArrayLike,
        rejected: npt.ArrayLike,
        user: npt.ArrayLike,
        prompt: npt.ArrayLike | None = None,
        pair_weight: npt.ArrayLike | None = None,
        num_users: int | None = None,
        user_ids: npt.ArrayLike | None = None,
        head: npt.ArrayLike | None = None,
        texts: Iterable[tuple[str | Sequence[Mapping[str, object]], str]] | None = None,
        extra: Iterable[Mapping[str, object]] | None = None,
        answers: Mapping[str, Shaped[np.ndarray, "..."]] | None = None,
        note: str | None = None,
    ) -> Path:
        """Writes the rest of the table, the pairs and the manifest, and renames the folder.

        Args:
            chosen: row of the preferred response, integer `[pairs]`.
            rejected: row of the other response, integer `[pairs]`.
            user: who compared, integer `[pairs]`.
            prompt: what both responses answer, integer `[pairs]`, or None.
            pair_weight: how much a pair counts, `[pairs]`, or None.
            num_users: the number of users, if neither `user_ids` nor the pairs say it.
            user_ids: the users' names `[num_users]`, or None.
            head: the reference head `[dim]`, or None.
            texts: (prompt, reply) of each response; a prompt is a string or a list of messages.
            extra: further columns of each pair, `pairs` JSON objects.
            answers: arrays of answers of every kind, from `answer_tensors`.
            note: what must be said beside every number from these pairs.

        Returns:
            The folder.

        Raises:
            ValueError: as `from_arrays`, or the number of texts is not the number of responses.
            OSError: the disk refused; finished shards stay for resuming.
        """
        responses = self.rows_done + self._buffered
        if responses == 0:
            wanted = "a table of one response or more is expected"
            raise ValueError(f"{self.path}: no rows were appended: {wanted}")
        # One column stands for the table: its rows were checked when they were appended.
        prefs = from_arrays(
            np.zeros((responses, 1), np.float16),
            chosen,
            rejected,
            user,
            prompt=prompt,
            pair_weight=pair_weight,
            num_users=num_users,
            user_ids=user_ids,
        )
        head = check_head(head, self._job["dim"])
        if self._buffered:
            self._write_shard()
        given_order = np.argsort(prefs.row)
        pairs = {name: getattr(prefs, name)[given_order] for name in PAIR_COLUMNS}
        files = {PAIRS: write_tensors(self._partial / PAIRS, pairs)}
        if prefs.user_ids is not None:
            names = json.dumps(prefs.user_ids.tolist(), indent=0)
            files[USERS] = write_file(self._partial / USERS, [names.encode()])
        if head is not None:
            files[HEAD] = write_tensors(self._partial / HEAD, {"head": head})
        if texts is not None:
            objects = ({"prompt": prompt, "reply": reply} for prompt, reply in texts)
            files[TEXTS] = write_json_lines(self._partial / TEXTS, objects, responses, "response")
        if extra is not None:
            files[EXTRA] = write_json_lines(self._partial / EXTRA, extra, prefs.num_pairs, "pair")
        if answers is not None:
            files[ANSWERS] = write_tensors(self._partial / ANSWERS, answers)
        manifest = CacheManifest(
            format_version=FORMAT_VERSION,
            encoder=self._job["encoder"],
            inputs=self._job["inputs"],
            dim=self._job["dim"],
            dtype=self._job["dtype"],
            responses=responses,
            pairs=prefs.num_pairs,
            users=prefs.num_users,
            note=note,
            shards=self._shards,
            files=[FileEntry(name=name, **record._asdict()) for name, record in files.items()],
        )
        write_file(self._partial / MANIFEST, [with_checksum(manifest)])
        if self.path.exists() and any(self.path.iterdir()):
            shutil.rmtree(self._old, ignore_errors=True)
            os.rename(self.path, self._old)
        os.rename(self._partial, self.path)
        sync_folder(self.path.parent)
        (self.path / PROGRESS).unlink()
        shutil.rmtree(self._old, ignore_errors=True)
        return self.path
