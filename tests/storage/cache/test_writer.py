"""Writing a cache: bad input is refused, interrupted writes are resumed or leave nothing."""

import contextlib
import errno
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from small_cache import DIM, ENCODER, PAIRS, ROWS, TABLE, TEXTS, flip, write

from lore_jax.storage import files
from lore_jax.storage.cache.manifest import describe_cache, read_manifest
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.cache.writer import CacheWriter
from lore_jax.storage.safetensors import read_header


def test_safetensors_itself_reads_the_shards(tmp_path):
    folder = write(tmp_path / "cache")
    shards = sorted(folder.glob("embeddings-*.safetensors"))
    assert len(shards) == 4
    for number, shard in enumerate(shards):
        expected = TABLE[30 * number : 30 * number + 30].astype(np.float16)
        np.testing.assert_array_equal(safetensors.numpy.load_file(shard)["embeddings"], expected)
        assert read_header(shard)["embeddings"].offset % 64 == 0
    np.testing.assert_array_equal(
        safetensors.numpy.load_file(folder / "pairs.safetensors")["chosen"], PAIRS["chosen"]
    )


def test_bad_rows_are_named_and_nothing_is_written(tmp_path):
    for value, dtype, message in (
        (np.nan, "float32", "embeddings row 61 holds nan in column 5: not finite"),
        (-np.inf, "bfloat16", "embeddings row 61 holds -inf in column 5: not finite"),
        (
            70_000,
            "float16",
            "embeddings row 61 holds 70000.0 in column 5, which float16 cannot hold",
        ),
    ):
        table = TABLE.copy()
        table[61, 5] = value
        with pytest.raises(ValueError, match=message):
            write(tmp_path / "cache", table, dtype)
        assert list(tmp_path.iterdir()) == []


def test_rows_whose_sum_overflows_are_fine(tmp_path):
    table = np.full((ROWS, DIM), 3e38, np.float32)
    np.testing.assert_array_equal(
        load_cache(write(tmp_path / "cache", table, "float32")).embeddings, table
    )


BAD_FINISH = {
    "past the table": (
        {"chosen": [0], "rejected": [100], "user": [0]},
        "rejected is 100 in pair 0, outside a table of 100",
    ),
    "equal": ({"chosen": [1], "rejected": [1], "user": [0]}, "chosen equals rejected"),
    "too many users": (
        {"chosen": [1], "rejected": [2], "user": [3], "user_ids": ["a"]},
        "user is 3 in pair 0",
    ),
    "head": (
        {"chosen": [1], "rejected": [2], "user": [0], "head": np.zeros(3)},
        r"head has shape \(3,\): \[24\]",
    ),
    "texts": (
        {"chosen": [1], "rejected": [2], "user": [0], "texts": TEXTS[:9]},
        "texts.jsonl was given 9 entries for 100",
    ),
}


@pytest.mark.parametrize("name", BAD_FINISH)
def test_bad_pairs_are_refused_and_nothing_is_written(tmp_path, name):
    arguments, message = BAD_FINISH[name]
    with CacheWriter(tmp_path / "cache", dim=DIM, dtype="float16") as writer:
        writer.append(TABLE)
        with pytest.raises(ValueError, match=message):
            writer.finish(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments(tmp_path):
    for options, message in (
        (
            {"dim": 4, "dtype": "float64"},
            "dtype is float64: float16, bfloat16 or float32 is expected",
        ),
        ({"dim": 0, "dtype": "float16"}, "dim is 0"),
        ({"dim": 4, "dtype": "float16", "encoder": {"x": object()}}, "only what JSON can hold"),
        ({"dim": 4, "dtype": "float16", "encoder": {"x": float("nan")}}, "not JSON compliant"),
    ):
        with pytest.raises(ValueError, match=message):
            CacheWriter(tmp_path / "cache", **options)
    with CacheWriter(tmp_path / "cache", dim=4, dtype="float16") as writer:
        with pytest.raises(
            ValueError, match=r"rows have shape \(2, 5\): \[n, 4\] is expected, from row 0 on"
        ):
            writer.append(np.zeros((2, 5)))
        with pytest.raises(ValueError, match="no rows were appended"):
            writer.finish(chosen=[], rejected=[], user=[])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(tmp_path):
    folder = write(tmp_path / "cache")
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(FileExistsError, match="holds a cache already"):
        write(folder, table=TABLE[::-1])
    assert (folder / "manifest.json").read_bytes() == before
    write(folder, table=TABLE[::-1], overwrite=True)
    np.testing.assert_array_equal(load_cache(folder).embeddings, TABLE[::-1].astype(np.float16))
    other = tmp_path / "other"
    other.mkdir()
    write(other)  # an empty folder is fine
    (other / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(
            FileExistsError, match=r"holds 'thesis\.tex', which is no part of a cache"
        ):
            write(other, overwrite=overwrite)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="is a file"):
        write(tmp_path / "file", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "file", "other"]


def test_two_writers_do_not_meet(tmp_path):
    with CacheWriter(tmp_path / "cache", dim=DIM, dtype="float16") as writer:
        writer.append(TABLE)
        with pytest.raises(BlockingIOError, match=f"cache.lock is held by process {os.getpid()}"):
            write(tmp_path / "cache")
        writer.finish(**PAIRS)
    assert load_cache(tmp_path / "cache").num_responses == ROWS


@pytest.mark.parametrize("name", ["shard", "pairs", "manifest"])
def test_full_disk(tmp_path, monkeypatch, name):
    """The disk is full at some file: one line that names it; what was finished before is used by
    the next try.
    """
    real = files.os.replace

    def replace(source, target):
        if name in Path(target).name or (
            name == "shard" and Path(target).name == "embeddings-00002.safetensors"
        ):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(
        OSError,
        match=f"No space left on device: .*{name if name != 'shard' else 'embeddings-00002'}",
    ):
        write(tmp_path / "cache", inputs="x")
    assert not (tmp_path / "cache").exists()
    monkeypatch.undo()
    with CacheWriter(
        tmp_path / "cache",
        dim=DIM,
        dtype="float16",
        encoder=ENCODER,
        inputs="x",
        shard_bytes=30 * 48,
    ) as writer:
        assert writer.rows_done == (60 if name == "shard" else ROWS)
        writer.append(TABLE[writer.rows_done :])
        writer.finish(**PAIRS)
    np.testing.assert_array_equal(
        load_cache(tmp_path / "cache").embeddings, TABLE.astype(np.float16)
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def interrupt(folder, rows, **options):
    with (
        contextlib.suppress(KeyboardInterrupt),
        CacheWriter(
            folder, dim=DIM, dtype="float16", encoder=ENCODER, shard_bytes=30 * 48, **options
        ) as writer,
    ):
        writer.append(TABLE[:rows])
        raise KeyboardInterrupt


def test_interrupted_write_is_resumed_to_the_same_bytes(tmp_path):
    whole = write(tmp_path / "whole", inputs="texts")
    interrupt(tmp_path / "cache", 75, inputs="texts")
    with pytest.raises(FileNotFoundError, match=r"cache\.partial holds an interrupted write"):
        load_cache(tmp_path / "cache")
    report = describe_cache(tmp_path / "cache")
    assert (report["finished"], report["responses"], report["corrupt"]) == (False, 60, [])
    write(tmp_path / "cache", inputs="texts")
    assert contents(whole) == contents(tmp_path / "cache")


def test_corrupt_shards_are_written_again(tmp_path):
    interrupt(tmp_path / "cache", 95, inputs="texts")
    flip(tmp_path / "cache.partial" / "embeddings-00001.safetensors", 5000)
    assert "embeddings-00001" in describe_cache(tmp_path / "cache")["corrupt"][0]
    with CacheWriter(
        tmp_path / "cache",
        dim=DIM,
        dtype="float16",
        encoder=ENCODER,
        inputs="texts",
        shard_bytes=30 * 48,
    ) as writer:
        assert writer.rows_done == 30
    write(tmp_path / "cache", inputs="texts")
    assert contents(write(tmp_path / "whole", inputs="texts")) == contents(tmp_path / "cache")


def test_interrupted_write_of_something_else_is_not_mixed_in(tmp_path):
    interrupt(tmp_path / "cache", 75, inputs="texts")
    for options, what in (
        ({"inputs": "other"}, "inputs"),
        ({"inputs": "texts", "encoder": {}}, "encoder"),
        ({}, "inputs"),
    ):
        with pytest.raises(
            FileExistsError,
            match=f"interrupted write of 60 rows with other {what}: finish that one first",
        ):
            write(tmp_path / "cache", **options)
    write(tmp_path / "cache", table=TABLE[::-1], inputs="other", overwrite=True)
    np.testing.assert_array_equal(
        load_cache(tmp_path / "cache").embeddings, TABLE[::-1].astype(np.float16)
    )


def test_without_inputs_nothing_is_kept(tmp_path):
    interrupt(tmp_path / "cache", 75)
    assert list(tmp_path.iterdir()) == []


class Killed(BaseException):
    """Stands for kill -9: from here on nothing changes on the disk, whatever clean-up runs."""


@pytest.mark.parametrize("overwriting", [False, True])
def test_killed_at_every_step_loads_or_resumes(tmp_path, monkeypatch, overwriting):
    whole = contents(write(tmp_path / "whole", inputs="texts"))
    old = write(tmp_path / "old", table=TABLE[::-1], inputs="old")
    folder = tmp_path / "here" / "cache"
    outcomes = []
    for step in range(1, 200):
        shutil.rmtree(folder.parent, ignore_errors=True)
        if overwriting:
            shutil.copytree(old, folder)
        count = 0

        def dying(real, step=step):
            def call(*args, **kwargs):
                nonlocal count
                count += 1
                if count >= step:
                    raise Killed
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync"):
                patch.setattr(files.os, name, dying(getattr(os, name)))
            with contextlib.suppress(Killed):
                write(folder, inputs="texts", overwrite=True)
        if folder.exists():
            prefs = load_cache(folder)  # whole, the old one or the new one
            assert prefs.num_responses == ROWS
        if not folder.exists() or read_manifest(folder)["inputs"] == "old":
            outcomes.append("resumed")
            write(folder, inputs="texts", overwrite=True)
            assert sorted(path.name for path in folder.parent.iterdir()) == ["cache"]
        else:
            outcomes.append("done")
        assert {
            name: data for name, data in contents(folder).items() if name != "progress.json"
        } == whole
        if count < step:
            break
    assert outcomes.count("resumed") > 15
    assert count < step


def die_while_writing(folder):
    with CacheWriter(
        folder, dim=DIM, dtype="float16", encoder=ENCODER, inputs="texts", shard_bytes=30 * 48
    ) as writer:
        writer.append(TABLE[:95])
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_leaves_no_lock(tmp_path):
    child = multiprocessing.get_context("spawn").Process(
        target=die_while_writing, args=(tmp_path / "cache",)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / "cache.lock").exists()
    assert describe_cache(tmp_path / "cache")["responses"] == 90
    write(tmp_path / "cache", inputs="texts")
    assert contents(tmp_path / "cache") == contents(write(tmp_path / "whole", inputs="texts"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "whole"]
