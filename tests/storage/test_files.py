"""Files are written whole or not at all, by one writer; corruption is found."""

import ast
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lore_jax
from lore_jax.storage import files
from lore_jax.storage.files import (
    canonical_json,
    check_file_list,
    find_corruption,
    locked,
    read_checked,
    refuse_existing,
    sha256_of,
    with_checksum,
    write_file,
    write_file_list,
    write_json_lines,
)


def test_a_file_is_written_whole(tmp_path):
    record = write_file(tmp_path / "notes.txt", [b"two ", memoryview(b"chunks")])
    assert (tmp_path / "notes.txt").read_bytes() == b"two chunks"
    assert record == (10, hashlib.sha256(b"two chunks").hexdigest())
    assert record.sha256 == sha256_of(tmp_path / "notes.txt")


def test_a_refusing_disk_leaves_the_old_file(tmp_path, monkeypatch):
    write_file(tmp_path / "notes.txt", [b"old"])

    def replace(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(OSError, match=r"No space left on device: .*notes\.txt"):
        write_file(tmp_path / "notes.txt", [b"new"])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_bytes() == b"old"


def test_every_flipped_bit_of_a_checked_file_is_found(tmp_path):
    path = tmp_path / "content.json"
    content = {"b": [1, 0.5, None], "a": "é"}
    data = with_checksum(content)
    path.write_bytes(data)
    assert read_checked(path) == content
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"content\.json is corrupt"):
            read_checked(path)
    path.write_text(json.dumps(json.loads(data)))  # the same content, spelt in another way
    with pytest.raises(ValueError, match=r"content\.json is corrupt"):
        read_checked(path)


def test_only_json_has_canonical_bytes():
    assert canonical_json({"b": 1, "a": (2,)}) == canonical_json({"a": [2], "b": 1})
    with pytest.raises(ValueError, match="only what JSON can hold is expected"):
        canonical_json({"a": object()})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_corruption_is_described(tmp_path):
    file = tmp_path / "table"
    entry = {"name": "table", **write_file(file, [b"0123456789"])._asdict()}
    assert find_corruption(tmp_path, entry) is None
    file.write_bytes(b"0123")
    assert find_corruption(tmp_path, entry, "quick") == f"{file} is truncated: 4 of 10 bytes"
    file.write_bytes(b"0123456789a")
    assert find_corruption(tmp_path, entry, "quick") == f"{file} is corrupt: 11 of 10 bytes"
    file.write_bytes(b"012345678x")
    assert find_corruption(tmp_path, entry, "quick") is None
    assert f"{file} is corrupt: its sha256 is " in str(find_corruption(tmp_path, entry))
    file.unlink()
    assert find_corruption(tmp_path, entry) == f"{file} is missing"


def test_the_list_of_files_finds_every_file_below_a_folder(tmp_path):
    check_file_list(tmp_path)  # a folder without a list is not checked
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    write_file_list(tmp_path)
    check_file_list(tmp_path)
    (tmp_path / "inner" / "a").write_bytes(b"x")
    with pytest.raises(ValueError, match="inner/a is corrupt"):
        check_file_list(tmp_path)


def test_lines_of_json_are_counted(tmp_path):
    write_json_lines(tmp_path / "rows.jsonl", [{"a": 1}, {"a": Path("x")}], 2, "pair")
    assert (tmp_path / "rows.jsonl").read_text().splitlines() == ['{"a": 1}', '{"a": "x"}']
    with pytest.raises(ValueError, match=r"rows.jsonl was given 1 entries for 2: one a pair"):
        write_json_lines(tmp_path / "rows.jsonl", [{"a": 1}], 2, "pair")


# -- the lock

HOLD = """
import sys
from pathlib import Path
from lore_jax.storage.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(path):
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_process_at_a_time_holds_the_lock(tmp_path):
    path = tmp_path / "cache.lock"
    with hold(path) as process:
        line = f"cache.lock is held by process {process.pid}, which is writing there: wait for it"
        with pytest.raises(BlockingIOError, match=line), locked(path):
            pass
        assert path.exists()
        process.communicate("")
    assert not path.exists()
    with locked(path):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(BlockingIOError, match=f"held by process {os.getpid()}"), locked(path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_holds_no_lock(tmp_path):
    path = tmp_path / "cache.lock"
    with hold(path) as process:
        os.kill(process.pid, signal.SIGKILL)
    assert path.exists()
    with locked(path):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_an_error_releases_the_lock(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "lock"):
        raise KeyError
    with locked(tmp_path / "lock"):
        pass


def test_no_module_imports_what_windows_lacks():
    for path in Path(lore_jax.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            else:
                names = {node.module} if isinstance(node, ast.ImportFrom) else set()
            assert not names & {"fcntl", "pwd", "grp", "resource", "termios"}, path


def test_a_file_is_replaced_only_where_that_is_asked_for(tmp_path):
    file = tmp_path / "page.html"
    refuse_existing(file, overwrite=False)
    file.write_text("old")
    refuse_existing(file, overwrite=True)
    with pytest.raises(FileExistsError, match=r"page.html is there already: overwrite it expl"):
        refuse_existing(file, overwrite=False)


def test_what_a_killed_process_left_is_removed_by_the_next_to_write_there(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    host = files._host()
    left = tmp_path / f".page.html.tmp-{host}-{dead.pid}"
    others = [
        tmp_path / f".page.html.tmp-{host}-{os.getppid()}",  # it lives
        tmp_path / f".page.html.tmp-{'0' * 8}-{dead.pid}",  # of another machine
        tmp_path / f".page.html.tmp-{host}-notes",
    ]
    for path in (left, *others):
        path.write_text("half")
    write_file(tmp_path / "results.json", [b"{}"])
    assert not left.exists()
    assert all(path.exists() for path in others)
    assert files.is_temporary(left.name)
    assert not files.is_temporary("page.html")
