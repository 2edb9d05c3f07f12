"""A table in the files of a cache is the array it would be in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lore_jax as lore
from lore_jax.storage.cache import reader
from lore_jax.storage.cache.stored_table import StoredShard, StoredTable, read_into
from lore_jax.storage.cache.writer import CacheWriter

ROWS, DIM = 11, 3


@pytest.fixture(scope="module")
def whole():
    return np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float16)


@pytest.fixture(scope="module")
def stored(whole, tmp_path_factory):
    shards, start = [], 0
    for number, rows in enumerate((4, 1, 6)):
        path = tmp_path_factory.mktemp("shards") / f"{number}"
        path.write_bytes(b"head" * number + whole[start : start + rows].tobytes())
        shards.append(StoredShard(path, 4 * number, rows))
        start += rows
    return StoredTable(shards, np.float16, DIM)


@given(data=st.data())
def test_rows_are_those_of_the_array(data, whole, stored):
    ends = st.none() | st.integers(-ROWS - 2, ROWS + 2)
    some = slice(data.draw(ends), data.draw(ends), data.draw(st.none() | st.integers(1, 4)))
    np.testing.assert_array_equal(stored[some], whole[some])
    rows = np.array(data.draw(st.lists(st.integers(-ROWS, ROWS - 1))), int)
    np.testing.assert_array_equal(stored[rows], whole[rows])


def test_sizes_and_single_rows_and_all_of_it(whole, stored):
    assert (stored.shape, stored.ndim, len(stored), stored.nbytes) == (
        whole.shape,
        2,
        ROWS,
        whole.nbytes,
    )
    np.testing.assert_array_equal(stored[4], whole[4])
    np.testing.assert_array_equal(stored[np.arange(ROWS) > 5], whole[6:])
    np.testing.assert_array_equal(np.asarray(stored), whole)
    assert np.asarray(stored, np.float32).dtype == np.float32
    assert repr(stored) == "StoredTable(11 responses, dim 3, float16)"
    with pytest.raises(IndexError, match="of a table of 11"):
        stored[np.array([ROWS])]


def test_a_file_that_ends_too_early(tmp_path):
    (tmp_path / "short").write_bytes(b"1234")
    with pytest.raises(ValueError, match="short is truncated"):
        read_into(tmp_path / "short", 2, np.zeros(3, np.uint8))


def test_a_cache_of_more_than_half_of_the_free_memory_stays_on_disk(whole, tmp_path, monkeypatch):
    with CacheWriter(tmp_path / "cache", dim=DIM, dtype="float16", shard_bytes=30) as writer:
        writer.append(whole)
        writer.finish(chosen=[0, 1], rejected=[2, 10], user=[0, 1])
    in_memory = lore.load_cache(tmp_path / "cache").embeddings
    monkeypatch.setattr(reader, "available_memory", lambda: 2.0 * whole.nbytes - 1)
    prefs = lore.load_cache(tmp_path / "cache")
    assert isinstance(prefs.embeddings, StoredTable)
    np.testing.assert_array_equal(np.asarray(prefs.embeddings), in_memory)
    np.testing.assert_array_equal(prefs.take_responses().embeddings, whole[[0, 1, 2, 10]])
