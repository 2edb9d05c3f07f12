"""Rows of JSONL, Parquet, Arrow (a `datasets` folder) and CSV files, each with its location.

The first bytes decide the format, not the name. What is not a whole file of rows is refused where
it breaks: an error page saved under the name of the data, a download that stopped, another schema.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from lore_jax.datasets.formats.in_memory import RowsInMemory
from lore_jax.datasets.formats.messages import kind_of

if TYPE_CHECKING:
    import pyarrow

_SUFFIXES = (".jsonl", ".json", ".parquet", ".arrow", ".csv")
_INFO_FILES = ("dataset_info.json", "state.json", "dataset_dict.json")  # of `datasets`
_LONGEST_CELL = 2**24  # characters of a CSV cell; Python's own limit is 131,072

Row = Mapping[str, object]
RowSource = str | os.PathLike[str] | RowsInMemory


class BadRows:
    """Rows that are not what they should be: the first is refused, or all are skipped and counted.

    Attributes:
        skip: whether they are skipped.
        count: how many were.
        first: what was wrong with the first three, and where.

    Example:
        >>> bad = BadRows(skip=True)
        >>> bad.add("line 3: user_id is null")
        >>> bad.count, bad.first
        (1, ['line 3: user_id is null'])
    """

    def __init__(self, *, skip: bool) -> None:
        self.skip, self.count = skip, 0
        self.first: list[str] = []

    def add(self, problem: str) -> None:
        """Refuses or counts a row.

        Raises:
            ValueError: rows are not skipped.
        """
        if not self.skip:
            raise ValueError(problem) from None
        self.count += 1
        self.first = [*self.first, problem][:3]


def read_records(path: RowSource, bad: BadRows | None = None) -> Iterator[tuple[str, Row]]:
    """The rows of a JSONL, Parquet, Arrow or CSV file, with a progress bar.

    Args:
        path: the file; a folder that holds such files, as `datasets` saves them; or rows in memory.
        bad: what is done with lines of JSONL and CSV that are no rows; None: they are refused.

    Yields:
        Where a row stands, for messages, and the row. Cells of CSV are texts, or lists of messages
        where they are written as such.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, HTML, corrupt, or not rows; the message says where.

    Example:
        >>> rows = [row for where, row in read_records("survey.jsonl")]  # doctest: +SKIP
    """
    if isinstance(path, RowsInMemory):
        yield from path
        return
    path = Path(path)
    if path.is_dir():
        if (path / "dataset_dict.json").is_file():
            splits = ", ".join(
                sorted(repr(entry.name) for entry in path.iterdir() if entry.is_dir())
            )
            raise ValueError(f"{path} holds the splits {splits}: the folder of one is expected")
        for file in data_files(path):
            yield from read_records(file, bad)
        return
    if path.exists() and not path.is_file():  # a pipe can be read once, a device may never end
        raise ValueError(f"{path} is no regular file: a file of rows is expected")
    with open(path, "rb") as file:
        beginning = file.read(4096)
    if not beginning:
        raise ValueError(f"{path} is empty: one row or more is expected")
    if beginning.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        yield from _read_arrow(path, is_parquet=beginning.startswith(b"PAR1"))
    elif path.suffix == ".csv" and not beginning.lstrip().startswith(b"<"):
        for where, row in read_csv(path, bad=bad):
            yield where, {name: _messages_of(cell) for name, cell in row.items()}
    else:
        yield from _read_jsonl(path, bad or BadRows(skip=False))


def read_rows(files: Iterable[Path], columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """The rows of several files as `read_records` gives them; each must have these columns."""
    for file in files:
        for where, row in read_records(file):
            require_columns(where, row, columns)
            yield where, row


def data_files(folder: str | os.PathLike[str], name: str = "") -> list[Path]:
    """The data files of one format in a folder and below, sorted.

    A data set that is kept in two formats would be read twice: the most frequent one counts.

    Args:
        folder: where to look; a file stands for itself.
        name: only files whose path below the folder contains it.

    Raises:
        FileNotFoundError: there are none; the message says what the folder holds.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    all_files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = [path for path in all_files if not any(part[0] in "._" for part in path.parts)]
    files = [path for path in visible if path.suffix in _SUFFIXES and name in str(path)]
    files = [folder / path for path in files if path.name not in _INFO_FILES]
    if not files:
        found = ", ".join(map(str, visible[:5])) or "nothing"
        wanted = f"{name!r} in its path" if name else "rows"
        raise FileNotFoundError(
            f"{folder} holds no {' or '.join(_SUFFIXES)} file with {wanted}; found {found}"
        )
    suffixes = [path.suffix for path in files]
    most_frequent = max(dict.fromkeys(suffixes), key=suffixes.count)
    return [path for path in files if path.suffix == most_frequent]


def require_columns(where: str, row: Row, columns: Sequence[str]) -> None:
    """Refuses a row without these columns; the message lists the columns expected and found."""
    missing = [name for name in columns if name not in row]
    if missing:
        lacking, expected, found = (
            ", ".join(map(repr, names)) for names in (missing, columns, row)
        )
        raise ValueError(
            f"{where}: {lacking} missing: the columns {expected} are "
            f"expected, found {found[:200] or 'nothing'}"
        )


def require_text(where: str, name: str, value: object, *, empty: bool = False) -> str:
    """The text of a cell, stripped; another type, or an empty text unless `empty`, is refused."""
    if not isinstance(value, str):
        raise ValueError(f"{where}: {name} is {kind_of(value)}: a text is expected")
    text = value.strip()
    if not text and not empty:
        raise ValueError(f"{where}: {name} is empty: a text is expected")
    return text


def read_csv(
    path: Path, columns: Sequence[str] = (), bad: BadRows | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file, each after where it stands (`file line N`).

    Args:
        path: the file.
        columns: columns that its header must have.
        bad: what is done with lines of another number of fields; None: they are refused.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, or a line is not what it should be.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    limit, bad = csv.field_size_limit(_LONGEST_CELL), bad or BadRows(skip=False)
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            if missing := [name for name in columns if name not in header]:
                found = ", ".join(map(repr, header[:8])) or "nothing"
                raise ValueError(f"{path}: column {missing[0]!r} is missing; found {found[:200]}")
            if twice := [name for name in header if name and header.count(name) > 1]:
                raise ValueError(f"{path}: column {twice[0]!r} is there twice: once is expected")
            for row in reader:
                if len(row) != len(header):
                    sizes = f"{len(row)} fields, the header has {len(header)}"
                    bad.add(f"{path} line {reader.line_num}: {sizes}")
                    continue
                yield f"{path} line {reader.line_num}", dict(zip(header, row, strict=True))
        except UnicodeDecodeError:
            raise ValueError(f"{path} after line {reader.line_num}: not UTF-8 text") from None
        except csv.Error as error:
            raise ValueError(f"{path} line {reader.line_num}: {error}") from None
        finally:
            csv.field_size_limit(limit)


def _messages_of(cell: str) -> object:
    """The messages that a cell of CSV spells, in JSON or as pandas writes a list; else the text."""
    if not (cell.startswith("[{") and cell.endswith("}]")):
        return cell
    for parse in (json.loads, ast.literal_eval):  # of literals: it runs nothing
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = parse(cell)
            if all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in value):
                return value
    return cell


class _TwiceError(Exception):
    """A name that an object of JSON has twice, of which a reader would drop one."""


def _each_once(members: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(members)
    if len(row) < len(members):
        names = [name for name, _ in members]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_each_once)


def _read_jsonl(path: Path, bad: BadRows) -> Iterator[tuple[str, Row]]:
    size = path.stat().st_size
    with (
        open(path, "rb") as file,
        tqdm(total=size, desc=path.name, unit="B", unit_scale=True, disable=None) as bar,
    ):
        for number, data in enumerate(file, start=1):
            bar.update(len(data))
            try:
                row = _row_of_line(data, "utf-8-sig" if number == 1 else "utf-8")
            except ValueError as error:
                bad.add(f"{path} line {number}: {error}")
                continue
            if row is not None:
                yield f"{path} line {number}", row


def _row_of_line(data: bytes, encoding: str) -> Row | None:
    """The object of a line of JSONL, or None where it is blank."""
    try:
        line = data.decode(encoding).strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8 text") from None
    if not line:
        return None
    if line.startswith("<"):
        problem = "is HTML or XML, not JSONL: was an error page downloaded?"
        raise ValueError(f"{line[:40]!r} {problem}")
    try:
        row = _DECODER.decode(line)
    except _TwiceError as error:
        raise ValueError(f"holds {str(error)!r} twice: each name once is expected") from None
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "cannot be read"
        problem = f"not a whole JSON object ({reason})"
        raise ValueError(f"{problem}: {line[:40]!r}") from None
    if not isinstance(row, dict):
        raise ValueError(f"{kind_of(row)}: one JSON object a line is expected")
    # Half of a character, which JSON can escape and no file of UTF-8 can hold.
    if "\\ud" in line.lower():
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start])
            raise ValueError(f"holds a lone surrogate ({half}): UTF-8 text is expected") from None
    return row


def _read_arrow(path: Path, is_parquet: bool) -> Iterator[tuple[str, Row]]:
    import pyarrow
    import pyarrow.parquet

    try:
        if is_parquet:
            with pyarrow.parquet.ParquetFile(path) as file:
                yield from _rows(path, file.iter_batches(batch_size=4096), file.metadata.num_rows)
        else:  # a stream, as `datasets` writes it
            with pyarrow.memory_map(str(path)) as source:
                yield from _rows(path, pyarrow.ipc.open_stream(source), None)
    except (pyarrow.ArrowException, OSError) as error:
        what, reason = "Parquet" if is_parquet else "Arrow", str(error).splitlines()[0]
        raise ValueError(f"{path} is not a whole {what} file: {reason}") from None


def _rows(
    path: Path, batches: Iterable[pyarrow.RecordBatch], total: int | None
) -> Iterator[tuple[str, Row]]:
    number = 0
    with tqdm(total=total, desc=path.name, unit="row", disable=None) as bar:
        for batch in batches:
            for row in batch.to_pylist():
                yield f"{path} row {number} (counted from 0)", row
                number += 1
            bar.update(batch.num_rows)
