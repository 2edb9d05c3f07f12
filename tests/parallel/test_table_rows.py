"""A table read block by block gives what the table in memory gives."""

import gc

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.data.preferences import from_arrays
from lore_jax.parallel import table_rows
from lore_jax.parallel.devices import over_shards, place
from lore_jax.parallel.table_rows import (
    StreamedTable,
    as_table,
    every_row,
    map_rows,
    sum_over_rows,
)

ROWS, DIM = 23, 5


def table(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(dtype)


class OnDisk:
    """Rows that are counted when they are read."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype, self.nbytes = rows, rows.shape, rows.dtype, rows.nbytes
        self.read = []

    def __getitem__(self, rows):
        self.read.append(np.arange(len(self.rows))[rows])
        return self.rows[rows]


def of_rows(params, rows):
    inside = rows.astype(jnp.float32) @ params["V"]
    return {"a": jnp.tanh(inside), "b": inside.sum(axis=1)}


PARAMS = {"V": jnp.asarray(np.random.default_rng(1).normal(size=(DIM, 2)), jnp.float32)}


@pytest.fixture(params=[7, 23, 100])
def block(request, monkeypatch):
    monkeypatch.setattr(table_rows, "_BLOCK_BYTES", request.param * DIM * 4)


@pytest.mark.parametrize("dtype", ["float32", "float16", jnp.bfloat16])
def test_rows_and_sums_are_those_of_the_table_in_memory(dtype, block):
    whole = jnp.asarray(table(dtype))
    pull = {"a": jnp.ones((ROWS, 2)), "b": jnp.arange(1.0, ROWS + 1.0)}
    for source in (OnDisk(np.asarray(whole)), np.asarray(whole)):
        streamed = StreamedTable(source)
        found = jax.jit(lambda t: map_rows(of_rows, PARAMS, t))(streamed)
        chex.assert_trees_all_close(found, of_rows(PARAMS, whole), atol=1e-5)
        summed = jax.jit(lambda t: sum_over_rows(of_rows, PARAMS, t, pull))(streamed)
        expected = sum_over_rows(of_rows, PARAMS, whole, pull)
        chex.assert_trees_all_close(summed, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(jax.jit(lambda t: every_row(t, 4))(streamed), whole[::4])


def test_blocks_are_read_in_order_the_next_one_ahead(monkeypatch):
    monkeypatch.setattr(table_rows, "_BLOCK_BYTES", 10 * DIM * 4)
    source = OnDisk(table())
    streamed, program = StreamedTable(source), jax.jit(lambda t: map_rows(of_rows, PARAMS, t))
    for _ in range(2):
        jax.block_until_ready(program(streamed))
    del streamed
    gc.collect()  # waits for what was read ahead
    starts = [int(rows[0]) for rows in source.read]
    assert starts[:6] == [0, 10, 13, 0, 10, 13]
    assert len(starts) <= 7


def test_tables_of_one_shape_share_a_program_which_keeps_none_of_them(monkeypatch):
    monkeypatch.setattr(table_rows, "_BLOCK_BYTES", 10 * DIM * 4)
    program = jax.jit(lambda t: map_rows(of_rows, PARAMS, t))
    before = len(table_rows._READERS)
    for sign in (1.0, -1.0):
        source = OnDisk(np.float32(sign) * table())
        found = jax.block_until_ready(program(StreamedTable(source)))
        chex.assert_trees_all_close(found, of_rows(PARAMS, source.rows), atol=1e-5)
    assert program._cache_size() == 1
    del source
    gc.collect()
    assert len(table_rows._READERS) <= before + 1


@pytest.mark.parametrize("mapping", ["jit", "pmap"])
def test_every_shard_reads_the_same(mapping):
    prefs = from_arrays(table(), [0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3])
    devices = jax.devices()[:2]

    def shard(_, data, shared):
        return map_rows(of_rows, PARAMS, data.embeddings)["b"]

    data, _ = place(prefs, 1.0, devices)
    streamed = data.replace(embeddings=StreamedTable(OnDisk(table())))
    found = over_shards(shard, mapping, devices=devices)(jnp.zeros(2), streamed, ())
    assert found.shape == (2, ROWS)
    np.testing.assert_allclose(found[1], of_rows(PARAMS, table())["b"], atol=1e-5)


def test_which_tables_are_streamed(monkeypatch):
    monkeypatch.setattr(table_rows, "_CONVERTED_BYTES", 100)
    assert isinstance(as_table(table("float16")), StreamedTable)
    assert isinstance(as_table(OnDisk(table())), StreamedTable)
    for given in (table(), jnp.asarray(table("float16"))):
        assert as_table(given) is given
    streamed = as_table(OnDisk(table()))
    assert as_table(streamed) is streamed
