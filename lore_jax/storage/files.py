"""Files with atomic writes, one writer at a time, and checksums.

A process killed at any moment leaves either the old file or the new one, and a flipped bit is found
when the file is read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from lore_jax.storage.json_fields import Count, check_fields

Verify = Literal["full", "quick"]

_LIST = "files.json"
_TEMPORARY = re.compile(r"\..+\.tmp-(?:[0-9a-f]{8}-)?(?P<process>\d+)")


class FileRecord(NamedTuple):
    """Size in bytes and sha256 (64 hexadecimal digits) of a file that was written."""

    bytes: int
    sha256: str


class FileEntry(TypedDict):
    """Name, size and sha256 of a file, as a manifest keeps them."""

    name: str
    bytes: Count
    sha256: str


class _FileList(TypedDict):
    """What `files.json` holds."""

    files: list[FileEntry]


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> FileRecord:
    """Writes a file whole or not at all: a flushed temporary sibling is renamed over `path`.

    Args:
        path: the file, replaced if it is there. Its folder must exist.
        chunks: the content in order; hashed on the way, so that nothing is read twice.

    Returns:
        Size and sha256 of the content.

    Raises:
        OSError: the disk refused; the message names `path`, and nothing is left behind.

    Example:
        >>> write_file(Path("notes.txt"), [b"two ", b"chunks"]).bytes  # doctest: +SKIP
        10
    """
    temporary = path.with_name(f".{path.name}.tmp-{_host()}-{os.getpid()}")
    digest, size = hashlib.sha256(), 0
    try:
        _remove_leftovers(path.parent)
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


@functools.cache
def _host() -> str:
    """Eight digits for this machine: a process is known by its number on one machine only."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def is_temporary(name: str) -> bool:
    """Whether `write_file` gives its temporary files such a name, or once did."""
    return bool(_TEMPORARY.fullmatch(name))


def _remove_leftovers(folder: Path) -> None:
    """Removes what killed processes of this machine left of `write_file` in a folder."""
    for entry in folder.glob(f".*.tmp-{_host()}-*"):
        match = _TEMPORARY.fullmatch(entry.name)
        if match and not _is_alive(int(match["process"])):
            with contextlib.suppress(OSError):
                entry.unlink()


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where asking by a signal would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True


def read_whole(path: Path) -> bytes:
    """The bytes of a file; a pipe or a device, which may never end, is refused with a ValueError.

    Example:
        >>> read_whole(Path("/dev/zero"))
        Traceback (most recent call last):
        ValueError: /dev/zero is no regular file: one with an end is expected
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file: one with an end is expected")
    return path.read_bytes()


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises FileExistsError if there is a file at `path` and it is not to be overwritten."""
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} is there already: overwrite it explicitly or choose another file"
        )


def sync_folder(path: Path) -> None:
    """Flushes a folder's entries (names, renames); flushing its files does not do that."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: object, *, compact: bool = False) -> bytes:
    """The one spelling of a JSON value here: sorted keys, ASCII, no NaN. Else ValueError.

    Compact, for long files: keys in their own order, nothing between them.
    """
    try:
        if compact:
            return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
        return json.dumps(value, sort_keys=True, indent=1, allow_nan=False).encode()
    except TypeError as error:
        raise ValueError(f"only what JSON can hold is expected: {error}") from error


def json_sha256(value: object, *, compact: bool = False) -> str:
    """The sha256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value, compact=compact)).hexdigest()


def with_checksum(content: Mapping[str, object], *, compact: bool = False) -> bytes:
    """`content` as canonical JSON with one more key, `sha256`: the digest of `content`."""
    digest = json_sha256(content, compact=compact)
    return canonical_json({**content, "sha256": digest}, compact=compact)


def read_checked(path: Path, *, compact: bool = False) -> dict[str, Any]:
    """Reads what `with_checksum` made; every changed bit of the file is found.

    Args:
        path: a file written from `with_checksum`.
        compact: in which spelling.

    Returns:
        The content, without its digest.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is corrupt, or was changed by hand.
    """
    data = read_whole(path)
    try:
        content = json.loads(data)
        del content["sha256"]
        # The digest alone would miss a changed blank or another spelling of a number.
        intact = with_checksum(content, compact=compact) == data
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise ValueError(
            f"{path} is corrupt: its content does not agree with the sha256 it carries"
        )
    return content


def find_corruption(folder: Path, entry: FileEntry, verify: Verify = "full") -> str | None:
    """Says in one line what is wrong with a file, or None; "quick" looks at its size only."""
    file, expected = folder / entry["name"], entry["bytes"]
    if not file.is_file():
        return f"{file} is missing"
    if (size := file.stat().st_size) != expected:
        problem = "truncated" if size < expected else "corrupt"
        return f"{file} is {problem}: {size} of {expected} bytes"
    if verify == "full" and (digest := sha256_of(file)) != entry["sha256"]:
        wanted = entry["sha256"][:12]
        return f"{file} is corrupt: its sha256 is {digest[:12]}..., {wanted}... is expected"
    return None


def write_file_list(folder: Path) -> None:
    """Writes `files.json`: size and sha256 of every file below a folder that is complete."""
    entries: list[FileEntry] = []
    for file in filter(Path.is_file, sorted(folder.rglob("*"))):
        name, size = str(file.relative_to(folder)), file.stat().st_size
        entries.append({"name": name, "bytes": size, "sha256": sha256_of(file)})
    write_file(folder / _LIST, [with_checksum({"files": entries})])


def check_file_list(folder: Path) -> None:
    """Raises ValueError if a file of a folder disagrees with its `files.json`, if it has one."""
    if (folder / _LIST).exists():
        content = read_checked(folder / _LIST)
        check_fields(content, _FileList, str(folder / _LIST))
        for entry in content["files"]:
            if line := find_corruption(folder, entry):
                raise ValueError(line)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path`, made and removed here; it is released when the process dies.

    Raises:
        BlockingIOError: another process holds it; the message says which.
    """
    import filelock  # takes a tenth of a second, which readers need not wait for

    lock = filelock.FileLock(path, timeout=0, thread_local=False)
    while not lock.is_locked:
        try:
            lock.acquire()
        except filelock.Timeout:
            try:
                owner = path.read_text(errors="replace").strip() or "unknown"
            except FileNotFoundError:
                continue  # the last owner removed the file between our open and our lock
            except PermissionError:  # Windows: a locked file cannot be read
                owner = "unknown"
            raise BlockingIOError(
                f"{path} is held by process {owner}, which is writing there: wait for it"
            ) from None
    try:
        with contextlib.suppress(PermissionError):  # Windows: a locked file cannot be written to
            path.write_text(f"{os.getpid()}\n")
        yield
    finally:
        try:
            with contextlib.suppress(PermissionError):  # Windows: an open file cannot be removed
                path.unlink(missing_ok=True)
        finally:
            lock.release()


def write_json_lines(
    path: Path, objects: Iterable[Mapping[str, object]], expected: int, what: str
) -> FileRecord:
    """Writes objects as lines of JSON; there must be as many as expected, one a `what`."""
    count = 0

    def lines() -> Iterator[bytes]:
        nonlocal count
        for value in objects:
            count += 1
            # Dates and the like, which Parquet files hold, are written as text.
            yield json.dumps(dict(value), default=str).encode() + b"\n"

    record = write_file(path, lines())
    if count != expected:
        got = f"{path.name} was given {count} entries for {expected}"
        raise ValueError(f"{got}: one a {what} is expected")
    return record
