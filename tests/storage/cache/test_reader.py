"""Caches are read back as they were written, and corruption is found wherever it is."""

import json
import random
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from small_cache import DIM, PAIRS, ROWS, TABLE, TEXTS, flip, remake_manifest, write

from lore_jax.storage.cache.manifest import describe_cache
from lore_jax.storage.cache.reader import load_cache, read_rows, read_texts
from lore_jax.storage.cache.writer import CacheWriter


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


def test_everything_optional_comes_back(tmp_path):
    finish = {
        "head": TABLE[0],
        "texts": TEXTS,
        "num_users": 9,
        "pair_weight": [1, 2, 3, 4],
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
        assert path.name in describe_cache(folder)["corrupt"][0]
        flip(path, bit)
    assert describe_cache(folder)["corrupt"] == []
    load_cache(folder)


def test_quick_finds_all_but_flips_in_shards(rich, tmp_path):
    folder = shutil.copytree(rich, tmp_path / "cache")
    shard = folder / "embeddings-00001.safetensors"
    flip(shard, 8 * (shard.stat().st_size - 1))
    load_cache(folder, verify="quick")
    with pytest.raises(ValueError, match=r"embeddings-00001.safetensors is corrupt: its sha256 is"):
        load_cache(folder, verify="full")
    for path in set(folder.iterdir()) - set(folder.glob("embeddings-*")):
        flip(path, 77)
        with pytest.raises(ValueError, match=path.name):
            load_cache(folder, verify="quick")
        flip(path, 77)
    with pytest.raises(ValueError, match="verify is 'none'"):
        load_cache(folder, verify="none")  # pyright: ignore


def corrupt_shard(folder, action):
    action(folder / "embeddings-00001.safetensors")


CORRUPTIONS = {
    "truncated shard": (
        lambda f: corrupt_shard(f, lambda p: p.write_bytes(p.read_bytes()[:-3])),
        "embeddings-00001.safetensors is truncated: ",
    ),
    "longer shard": (
        lambda f: corrupt_shard(f, lambda p: p.write_bytes(p.read_bytes() + b"x")),
        "embeddings-00001.safetensors is corrupt: ",
    ),
    "missing shard": (
        lambda f: corrupt_shard(f, lambda p: p.unlink()),
        "embeddings-00001.safetensors is missing",
    ),
    "missing pairs": (lambda f: (f / "pairs.safetensors").unlink(), "pairs.safetensors is missing"),
    "empty manifest": (lambda f: (f / "manifest.json").write_text(""), "manifest.json is corrupt"),
    "html manifest": (
        lambda f: (f / "manifest.json").write_text("<html>"),
        "manifest.json is corrupt",
    ),
    "half a manifest": (
        lambda f: (f / "manifest.json").write_bytes((f / "manifest.json").read_bytes()[:400]),
        "manifest.json is corrupt",
    ),
    "manifest of another kind": (
        lambda f: (f / "manifest.json").write_text("[1]"),
        "manifest.json is corrupt",
    ),
    "newer format": (
        lambda f: remake_manifest(f, format_version=3),
        "format version 3, this lore_jax reads 2: update lore_jax",
    ),
    "older format": (
        lambda f: remake_manifest(f, format_version=1),
        "manifest.json has format version 1, this lore_jax reads 2: "
        "make the cache again with lore-jax prepare or embed",
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


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("verify", ["full", "quick"])
def test_corruption_is_named(rich, tmp_path, name, verify):
    folder = shutil.copytree(rich, tmp_path / "cache")
    action, message = CORRUPTIONS[name]
    action(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load_cache(folder, verify=verify)
    assert "\n" not in str(caught.value)
    describe_cache(folder, verify=verify)  # never raises


def test_read_rows_refuses_a_truncated_shard(rich, tmp_path):
    folder = shutil.copytree(rich, tmp_path / "cache")
    corrupt_shard(folder, lambda p: p.write_bytes(p.read_bytes()[:-3]))
    read_rows(folder, 0, 7)
    with pytest.raises(ValueError, match=r"embeddings-00001.safetensors is truncated"):
        read_rows(folder, 6, 8)
