"""The cache: what is written is read back, damage is found wherever it is, interrupted writes go on
or vanish.
"""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from lore_jax.storage import files
from lore_jax.storage.cache.manifest import describe_cache, encoder_fingerprint, read_manifest
from lore_jax.storage.cache.reader import load_cache, read_rows, read_texts
from lore_jax.storage.cache.writer import CacheWriter
from lore_jax.storage.files import seal
from lore_jax.storage.safetensors import map_tensor, read_header, write_tensors

ROWS, DIM = 100, 24
ENCODER = {"model": "tiny", "revision": "abc", "pooling": "mean", "dtype": "float32"}
TABLE = np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32)
TEXTS = [
    ([{"role": "user", "content": f"prompt {i // 2}"}], f"reply {i} é\u2028") for i in range(ROWS)
]
PAIRS = {
    "chosen": [0, 5, 99, 40],
    "rejected": [1, 2, 3, 41],
    "user": [2, 0, 2, 0],
    "prompt": [4, 3, 2, 1],
}


def write(
    folder, table=TABLE, dtype="float16", rows_per_shard=30, inputs=None, finish=None, **options
):
    itemsize = np.dtype(dtype).itemsize if dtype != "bfloat16" else 2
    shard_bytes = rows_per_shard * table.shape[1] * itemsize
    options = {"encoder": ENCODER, **options}
    with CacheWriter(
        folder, dim=table.shape[1], dtype=dtype, inputs=inputs, shard_bytes=shard_bytes, **options
    ) as writer:
        for start in range(writer.rows_done, len(table), 7):
            writer.append(table[start : start + 7])
        writer.finish(
            **PAIRS, **({"user_ids": ["ann", "bob", "eve"]} if finish is None else finish)
        )
    return folder


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("rows_per_shard", [7, 30, 1000])
@pytest.mark.parametrize("verify", ["full", "quick"])
def test_round_trip(tmp_path, dtype, rows_per_shard, verify):
    folder = write(tmp_path / "cache", dtype=dtype, rows_per_shard=rows_per_shard)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    prefs = load_cache(folder, verify=verify)
    stored = TABLE.astype(dtype if dtype != "bfloat16" else ml_dtypes.bfloat16)
    assert prefs.embeddings.dtype == stored.dtype
    np.testing.assert_array_equal(prefs.embeddings, stored)
    # pairs come sorted by user, and `row` says where each stood
    np.testing.assert_array_equal(prefs.row, [1, 3, 0, 2])
    for name, values in PAIRS.items():
        np.testing.assert_array_equal(getattr(prefs, name), np.array(values)[prefs.row])
    np.testing.assert_array_equal(prefs.pair_weight, np.ones(4))
    assert prefs.user_ids is not None
    assert prefs.user_ids.tolist() == ["ann", "bob", "eve"]
    assert prefs.head is None
    for start, stop in ((0, ROWS), (0, 1), (29, 31), (30, 60), (10, 95), (99, 100)):
        np.testing.assert_array_equal(read_rows(folder, start, stop), stored[start:stop])


def test_table_is_mapped_or_aligned_and_jax_takes_it_without_a_copy(tmp_path):
    one = load_cache(write(tmp_path / "one", rows_per_shard=1000)).embeddings
    several = load_cache(write(tmp_path / "several", rows_per_shard=7)).embeddings
    assert isinstance(one, np.memmap)
    for table in (one, several):
        assert table.ctypes.data % 64 == 0
        assert (
            jax.device_put(table, jax.devices("cpu")[0]).unsafe_buffer_pointer()
            == table.ctypes.data
        )


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


def test_tensorfile_reads_what_safetensors_writes(tmp_path):
    arrays = {
        "a": TABLE,
        "b": np.arange(5, dtype=np.int64),
        "empty": np.zeros((0, 3), np.float16),
        "c": np.array([True]),
    }
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "np"})
    write_tensors(tmp_path / "y.safetensors", arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(map_tensor(tmp_path / "x.safetensors", name), array)
        np.testing.assert_array_equal(
            safetensors.numpy.load_file(tmp_path / "y.safetensors")[name], array
        )


def test_everything_optional_comes_back(tmp_path):
    finish = {
        "head": TABLE[0],
        "texts": TEXTS,
        "num_users": 9,
        "weight": [1, 2, 3, 4],
        "extra": [{"n": i} for i in range(4)],
    }
    folder = write(tmp_path / "cache", finish=finish)
    prefs = load_cache(folder)
    assert (prefs.num_users, prefs.user_ids) == (9, None)
    np.testing.assert_array_equal(prefs.head, TABLE[0])
    np.testing.assert_array_equal(prefs.pair_weight, [2, 4, 1, 3])
    assert list(read_texts(folder)) == TEXTS
    assert [
        json.loads(line)["n"] for line in (folder / "extra.jsonl").read_text().splitlines()
    ] == [0, 1, 2, 3]
    assert list(read_texts(write(tmp_path / "without"))) == []
    only_table = tmp_path / "only_table"
    with CacheWriter(only_table, dim=DIM, dtype="float16") as writer:
        writer.append(jax.numpy.asarray(TABLE))
        writer.finish(chosen=[], rejected=[], user=[])
    assert (load_cache(only_table).num_pairs, load_cache(only_table).num_responses) == (0, ROWS)


def test_rows_keep_the_pairs_inside_them(tmp_path):
    folder = write(tmp_path / "cache")
    prefs = load_cache(folder, rows=(2, 50))
    np.testing.assert_array_equal(prefs.embeddings, TABLE[2:50].astype(np.float16))
    np.testing.assert_array_equal(prefs.row, [1, 3])
    np.testing.assert_array_equal(prefs.chosen, [3, 38])
    np.testing.assert_array_equal(prefs.rejected, [0, 39])
    assert prefs.num_users == 3
    for rows in ((5, 5), (-1, 4), (4, 101)):
        with pytest.raises(
            ValueError, match=f"rows {rows[0]} to {rows[1]} are outside its table of 100 responses"
        ):
            load_cache(folder, rows=rows)


def test_fingerprint_follows_the_encoder(tmp_path):
    base = encoder_fingerprint(
        read_manifest(write(tmp_path / "a", encoder={"model": "m", "length": 256}))
    )
    assert base == encoder_fingerprint(
        read_manifest(write(tmp_path / "b", dtype="float32", encoder={"length": 256, "model": "m"}))
    )
    for number, encoder in enumerate(({"model": "m", "length": 512}, {"model": "m"}, {})):
        assert base != encoder_fingerprint(
            read_manifest(write(tmp_path / f"c{number}", encoder=encoder))
        )


# -- damage
# ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A cache with every kind of file, several times smaller than a page, so that flips reach all
    of it.
    """
    finish = {
        "head": TABLE[0, :4],
        "texts": TEXTS[:20],
        "user_ids": ["ann", "bob", "eve"],
        "extra": [{"n": 1}] * 4,
    }
    folder = tmp_path_factory.mktemp("rich") / "cache"
    with CacheWriter(folder, dim=4, dtype="bfloat16", encoder=ENCODER, shard_bytes=7 * 8) as writer:
        writer.append(TABLE[:20, :4])
        writer.finish(chosen=[0, 5, 19, 4], rejected=[1, 2, 3, 5], user=[2, 0, 2, 0], **finish)
    return folder


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_every_flipped_bit_is_found(rich, tmp_path):
    folder = shutil.copytree(rich, tmp_path / "cache")
    paths = sorted(folder.iterdir())
    assert len(paths) == 9  # three shards, pairs, users, head, texts, extra, manifest
    rng = random.Random(0)
    # 100 anywhere in the folder by size, then 20 more in each file
    places = rng.choices(paths, [path.stat().st_size for path in paths], k=100) + [
        path for path in paths for _ in range(20)
    ]
    for path in places:
        bit = rng.randrange(8 * path.stat().st_size)
        flip(path, bit)
        with pytest.raises((ValueError, FileNotFoundError), match=path.name) as caught:
            load_cache(folder)
        assert "\n" not in str(caught.value)
        assert path.name in describe_cache(folder)["damaged"][0]
        flip(path, bit)
    assert describe_cache(folder)["damaged"] == []
    load_cache(folder)


def test_quick_finds_all_but_flips_in_shards(rich, tmp_path):
    folder = shutil.copytree(rich, tmp_path / "cache")
    shard = folder / "embeddings-00001.safetensors"
    flip(shard, 8 * (shard.stat().st_size - 1))
    load_cache(folder, verify="quick")
    with pytest.raises(ValueError, match=r"embeddings-00001.safetensors is damaged: its sha256 is"):
        load_cache(folder, verify="full")
    for path in set(folder.iterdir()) - set(folder.glob("embeddings-*")):
        flip(path, 77)
        with pytest.raises(ValueError, match=path.name):
            load_cache(folder, verify="quick")
        flip(path, 77)
    with pytest.raises(ValueError, match="verify is 'none'"):
        load_cache(folder, verify="none")  # pyright: ignore


def remake_manifest(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("sha256")
    (folder / "manifest.json").write_bytes(seal({**manifest, **changes}))


def damage_shard(folder, action):
    action(folder / "embeddings-00001.safetensors")


DAMAGE = {
    "truncated shard": (
        lambda f: damage_shard(f, lambda p: p.write_bytes(p.read_bytes()[:-3])),
        "embeddings-00001.safetensors is truncated: ",
    ),
    "longer shard": (
        lambda f: damage_shard(f, lambda p: p.write_bytes(p.read_bytes() + b"x")),
        "embeddings-00001.safetensors is damaged: ",
    ),
    "missing shard": (
        lambda f: damage_shard(f, lambda p: p.unlink()),
        "embeddings-00001.safetensors is missing",
    ),
    "missing pairs": (lambda f: (f / "pairs.safetensors").unlink(), "pairs.safetensors is missing"),
    "empty manifest": (lambda f: (f / "manifest.json").write_text(""), "manifest.json is damaged"),
    "html manifest": (
        lambda f: (f / "manifest.json").write_text("<html>"),
        "manifest.json is damaged",
    ),
    "half a manifest": (
        lambda f: (f / "manifest.json").write_bytes((f / "manifest.json").read_bytes()[:400]),
        "manifest.json is damaged",
    ),
    "manifest of another kind": (
        lambda f: (f / "manifest.json").write_text("[1]"),
        "manifest.json is damaged",
    ),
    "newer format": (
        lambda f: remake_manifest(f, format_version=2),
        "format version 2, newer than 1: update lore_jax",
    ),
    "other dim": (
        lambda f: remake_manifest(f, dim=5),
        r"embeddings-00000.* holds bfloat16 \[7, 4\]: bfloat16 \[7, 5\] is",
    ),
    "other dtype": (
        lambda f: remake_manifest(f, dtype="float16"),
        r"holds bfloat16 \[7, 4\]: float16 \[7, 4\] is expected",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("verify", ["full", "quick"])
def test_damage_is_named(rich, tmp_path, name, verify):
    folder = shutil.copytree(rich, tmp_path / "cache")
    action, message = DAMAGE[name]
    action(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load_cache(folder, verify=verify)
    assert "\n" not in str(caught.value)
    describe_cache(folder, verify=verify)  # never raises


def test_read_rows_refuses_a_truncated_shard(rich, tmp_path):
    folder = shutil.copytree(rich, tmp_path / "cache")
    damage_shard(folder, lambda p: p.write_bytes(p.read_bytes()[:-3]))
    read_rows(folder, 0, 7)
    with pytest.raises(ValueError, match=r"embeddings-00001.safetensors is truncated"):
        read_rows(folder, 6, 8)


def test_describe(rich, tmp_path):
    report = describe_cache(rich)
    assert (
        report["responses"],
        report["dim"],
        report["dtype"],
        report["pairs"],
        report["users"],
    ) == (
        20,
        4,
        "bfloat16",
        4,
        3,
    )
    assert (report["finished"], report["damaged"], report["strangers"], report["shards"]) == (
        True,
        [],
        [],
        3,
    )
    assert report["fingerprint"] == encoder_fingerprint(read_manifest(rich))
    folder = shutil.copytree(rich, tmp_path / "cache")
    (folder / "notes.txt").write_text("x")
    (folder / "manifest.json").write_text("{}")
    (folder / "embeddings-00002.safetensors").write_text("<html>")
    lines = describe_cache(folder)["damaged"]
    assert ["manifest.json" in lines[0], "embeddings-00002" in lines[1], len(lines)] == [
        True,
        True,
        2,
    ]
    with pytest.raises(FileNotFoundError, match="is not a cache"):
        describe_cache(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"nowhere is not a cache: it has no manifest\.json"
    ):
        load_cache(tmp_path / "nowhere")


# -- refusals of the writer
# --------------------------------------------------------------------------------------------


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


# -- interrupted writes
# ------------------------------------------------------------------------------------------------


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
    assert (report["finished"], report["responses"], report["damaged"]) == (False, 60, [])
    write(tmp_path / "cache", inputs="texts")
    assert contents(whole) == contents(tmp_path / "cache")


def test_damaged_shards_are_written_again(tmp_path):
    interrupt(tmp_path / "cache", 95, inputs="texts")
    flip(tmp_path / "cache.partial" / "embeddings-00001.safetensors", 5000)
    assert "embeddings-00001" in describe_cache(tmp_path / "cache")["damaged"][0]
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
