"""Files on disk that are there whole or not at all, have one writer at a time, and show damage by a
digest.

Whatever the library keeps (caches, runs, checkpoints' manifests) goes through these few functions:
a process killed at any moment leaves either the old file or the new one, and a flipped bit is found
when the file is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

Verify = Literal["full", "quick"]

_LIST = "files.json"


class FileRecord(NamedTuple):
    """What a manifest keeps of a file.

    Attributes:
        bytes: the size in bytes.
        sha256: the digest of the content, 64 hexadecimal digits.
    """

    bytes: int
    sha256: str


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> FileRecord:
    """Writes a file whole or not at all: a temporary sibling, flushed to the disk, then renamed
    over `path`.

    Args:
        path: the file, replaced if it is there. Its folder must exist.
        chunks: the content in order; hashed on the way, so that nothing is read twice.

    Returns:
        Size and sha256 of the content.

    Raises:
        OSError: the disk refused (full, read-only ...); the message names `path`, and nothing is
            left behind.

    Example:
        >>> write_file(Path("notes.txt"), [b"two ", b"chunks"]).bytes
        10
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    digest, size = hashlib.sha256(), 0
    try:
        with open(temporary, "wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                size += file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        # A failing write() does not say which file it was writing.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return FileRecord(size, digest.hexdigest())


def sync_folder(path: Path) -> None:
    """Flushes a folder's entries (names, renames) to the disk, which flushing its files does not
    do.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one way this library spells a JSON value: sorted keys, ASCII, no NaN; equal values give
    equal bytes.

    Raises:
        ValueError: `value` holds what JSON has no word for.
    """
    try:
        return json.dumps(value, sort_keys=True, indent=1, allow_nan=False).encode()
    except TypeError as error:
        raise ValueError(f"only what JSON can hold is expected: {error}") from error


def seal(content: dict[str, Any]) -> bytes:
    """`content` as canonical JSON with one more key, `sha256`: the digest of the canonical JSON
    without it.
    """
    return canonical_json(
        {**content, "sha256": hashlib.sha256(canonical_json(content)).hexdigest()}
    )


def read_sealed(path: Path) -> dict[str, Any]:
    """Reads what `seal` made; every changed bit of the file is noticed.

    The digest alone would miss a changed blank or a number spelt in another way, so the bytes
    themselves must be the canonical spelling of what they say.

    Args:
        path: a file written from `seal`.

    Returns:
        The content, without its digest.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or was changed by hand.
    """
    data = path.read_bytes()
    try:
        content = json.loads(data)
        digest = content.pop("sha256")
        intact = (
            seal(content) == data and digest == hashlib.sha256(canonical_json(content)).hexdigest()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise ValueError(
            f"{path} is damaged: its content does not agree with the sha256 it carries"
        )
    return content


def damage(folder: Path, record: Mapping[str, Any], verify: Verify = "full") -> str | None:
    """Says in one line what is wrong with a file, or None.

    Args:
        folder: where the file stands.
        record: `name`, `bytes` and `sha256` of the file, as they were written down.
        verify: "full" reads the file, "quick" looks at its size only.
    """
    file = folder / record["name"]
    if not file.is_file():
        return f"{file} is missing"
    if (size := file.stat().st_size) != record["bytes"]:
        return f"{file} is {'truncated' if size < record['bytes'] else 'damaged'}: {size} of {record['bytes']} bytes"
    if verify == "full" and (digest := sha256_of(file)) != record["sha256"]:
        return f"{file} is damaged: its sha256 is {digest[:12]}..., {record['sha256'][:12]}... is expected"
    return None


def list_files(folder: Path) -> None:
    """Writes `files.json`: size and sha256 of every file below a folder that will not change any
    more.
    """
    records = [
        {
            "name": str(file.relative_to(folder)),
            "bytes": file.stat().st_size,
            "sha256": sha256_of(file),
        }
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]
    write_file(folder / _LIST, [seal({"files": records})])


def check_listed_files(folder: Path) -> None:
    """Checks a folder against its `files.json`, if it has one.

    Raises:
        ValueError: a file, or the list, is damaged or missing; the message says which.
    """
    if (folder / _LIST).exists():
        for record in read_sealed(folder / _LIST)["files"]:
            if line := damage(folder, record):
                raise ValueError(line)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path` for one writer; the system lets go of it when the process dies,
    however it dies.

    Args:
        path: the lock file, made and removed here. Its folder must exist.

    Raises:
        BlockingIOError: another process holds it; the message says which.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise BlockingIOError(
                f"{path} is held by process {owner}, which is writing there: wait for it"
            ) from None
        # The last owner may have removed the file between our open and our lock: then nobody else
        # sees what we locked.
        try:
            if os.path.samestat(os.stat(path), os.fstat(handle)):
                break
        except FileNotFoundError:
            pass
        os.close(handle)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        try:
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def write_json_lines(
    path: Path, objects: Iterable[dict[str, Any]], expected: int, what: str
) -> FileRecord:
    """Writes objects as lines of JSON; there must be as many as expected, one a `what`."""
    count = 0

    def lines() -> Iterator[bytes]:
        nonlocal count
        for value in objects:
            count += 1
            yield (
                json.dumps(value, default=str).encode() + b"\n"
            )  # dates and the like, of Parquet, as text

    record = write_file(path, lines())
    if count != expected:
        raise ValueError(
            f"{path.name} was given {count} entries for {expected}: one a {what} is expected"
        )
    return record
