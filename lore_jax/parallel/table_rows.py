"""Passes over a table of embeddings that may be larger than memory: block by block.

Everything that a fit does with the table is `f(rows)` for each row, or a sum over rows. So the
table may lie where no program can hold it: a `StreamedTable` is read block by block, in order,
while a program runs, the next block while one is worked on. The numbers are those of a table in
memory, but for the order of sums. `as_table` says which tables are streamed.

A CPU has no products of float16 or bfloat16: a table in memory is converted whole, to twice its
size, in every pass. Streamed, it is converted block by block, two to four times as fast.
"""

from __future__ import annotations

import functools
import itertools
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

_BLOCK_BYTES = 2**22  # read at a time: up to six blocks are held, two of them in float32
# From which size on a table that a CPU would convert is streamed; a program that streams is not
# kept by the compilation cache.
_CONVERTED_BYTES = 2**26

Params = TypeVar("Params")


class Rows(Protocol):
    """What can be streamed: rows of a matrix that are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(rows, columns)`."""
        ...

    @property
    def dtype(self) -> Any:
        """NumPy's."""
        ...

    def __getitem__(self, rows: slice, /) -> Any:
        """These rows."""
        ...


@jax.tree_util.register_pytree_node_class
class StreamedTable:
    """A table that programs read block by block.

    To a program it is a number that says which table to read: tables of one shape share programs,
    and no program keeps a table alive. Whoever runs one does.

    Args:
        source: the rows: on disk, or in memory where a device has no room for them.

    Example:
        >>> StreamedTable(np.ones((3, 2), np.float32)).shape
        (3, 2)
    """

    def __init__(self, source: Rows) -> None:
        self.shape = tuple(source.shape)
        self.dtype = np.dtype(source.dtype)
        self._reader = _Reader(source)
        self._number: Any = np.int32(next(_NUMBERS))
        _READERS[int(self._number)] = self._reader

    def tree_flatten(self) -> tuple[tuple[Any], tuple[Any, ...]]:
        """The number, and what decides the program."""
        return (self._number,), (self.shape, self.dtype)

    @classmethod
    def tree_unflatten(cls, about: tuple[Any, ...], numbers: tuple[Any]) -> StreamedTable:
        """The table inside a program."""
        table = object.__new__(cls)
        table.shape, table.dtype = about
        (table._number,) = numbers
        return table

    def block(self, start: Array, size: int) -> Float[Array, "size dim"]:
        """Rows from `start` on, inside a program."""
        return self._call(functools.partial(_read, size=size), size, self._number, start)

    def every(self, step: int) -> Float[Array, "rows dim"]:
        """Each `step`-th row, inside a program."""
        rows = len(range(0, self.shape[0], step))
        return self._call(functools.partial(_read_every, step=step), rows, self._number)

    def _call(self, read: Callable[..., np.ndarray], rows: int, *arguments: Any) -> Array:
        shape = jax.ShapeDtypeStruct((rows, self.shape[1]), self.dtype)
        return jax.pure_callback(read, shape, *arguments, vmap_method="sequential")


# As a program sees it, `[responses, dim]`.
Table: TypeAlias = Array | StreamedTable


class _Reader:
    """Reads blocks of rows; from disk the next one before it is asked for."""

    def __init__(self, source: Rows) -> None:
        self.source, self._lock = source, threading.Lock()
        in_memory = type(source) is np.ndarray
        self._pool = None if in_memory else ThreadPoolExecutor(1, thread_name_prefix="table")
        self._next: tuple[int, int, Future[np.ndarray]] | None = None

    def read(self, start: int, size: int) -> np.ndarray:
        if self._pool is None:
            return self._get(start, size)
        with self._lock:  # devices may ask at once
            known, self._next = self._next, None
            if known is not None and known[:2] == (start, size):
                rows = known[2].result()
            else:
                rows = self._get(start, size)
            # After the last block comes the first, of the next pass.
            last = self.source.shape[0] - size
            after = min(start + size, last) if start < last else 0
            self._next = after, size, self._pool.submit(self._get, after, size)
        return rows

    def _get(self, start: int, size: int) -> np.ndarray:
        return np.asarray(self.source[start : start + size])


_NUMBERS = itertools.count()
_READERS: weakref.WeakValueDictionary[int, _Reader] = weakref.WeakValueDictionary()


def _read(number: Any, start: Any, *, size: int) -> np.ndarray:
    return _READERS[int(number)].read(int(start), size)


def _read_every(number: Any, *, step: int) -> np.ndarray:
    return np.asarray(_READERS[int(number)].source[::step])


def as_table(embeddings: Any) -> Any:
    """Arrays as programs take them; as a `StreamedTable` what is none, or is converted on a CPU.

    Example:
        >>> as_table(np.ones((3, 2))).shape
        (3, 2)
    """
    if isinstance(embeddings, jax.Array | StreamedTable):
        return embeddings
    if isinstance(embeddings, np.ndarray) and not _is_converted(embeddings):
        return embeddings
    return StreamedTable(embeddings)


def _is_converted(table: np.ndarray) -> bool:
    half = table.dtype.itemsize == 2 and jax.default_backend() == "cpu"
    return half and table.nbytes >= _CONVERTED_BYTES


def map_rows(function: Callable[[Params, Array], PyTree], params: Params, table: Table) -> PyTree:
    """`function(params, rows)` of all rows; it may be differentiated with respect to `params`.

    Args:
        function: of any number of rows at once, each row's result for itself, leaves `[rows, ...]`.
        params: a pytree.
        table: `[responses, dim]`.

    Returns:
        What `function` returns, leaves `[responses, ...]`.

    Example:
        >>> map_rows(lambda v, rows: rows @ v, jnp.ones(2), jnp.ones((3, 2)))
        Array([2., 2., 2.], dtype=float32)
    """
    if isinstance(table, StreamedTable):
        return _in_blocks(function, params, table)
    return function(params, table)


def sum_over_rows(
    function: Callable[[Params, Array], PyTree], params: Params, table: Table, pull: PyTree
) -> Params:
    """The transpose of `map_rows`: `sum over rows of (d function / d params)' pull`.

    Args:
        function: as of `map_rows`.
        params: where the derivative is taken.
        table: `[responses, dim]`.
        pull: as what `map_rows` returns.

    Returns:
        A pytree like `params`.

    Example:
        >>> sum_over_rows(lambda v, rows: rows @ v, jnp.zeros(2), jnp.ones((3, 2)), jnp.ones(3))
        Array([3., 3.], dtype=float32)
    """
    return jax.vjp(lambda params: map_rows(function, params, table), params)[1](pull)[0]


def every_row(table: Table, step: int) -> Float[Array, "rows dim"]:
    """Each `step`-th row of a table.

    Example:
        >>> every_row(jnp.arange(6.0).reshape(3, 2), 2)
        Array([[0., 1.],
               [4., 5.]], dtype=float32)
    """
    return table.every(step) if isinstance(table, StreamedTable) else table[::step]


def _block_size(table: StreamedTable) -> int:
    """How many rows are read at a time."""
    rows, dim = table.shape
    return min(rows, max(1, _BLOCK_BYTES // (dim * table.dtype.itemsize)))


def _starts(rows: int, size: int) -> tuple[Array, Array]:
    """Where blocks begin, all of one size, and how many rows of each the one before has had."""
    regular = np.arange(0, rows, size, dtype=np.int32)
    starts = np.minimum(regular, rows - size)
    return jnp.asarray(starts), jnp.asarray(regular - starts)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_blocks(function: Callable[..., Any], params: Any, table: StreamedTable) -> Any:
    rows, size = table.shape[0], _block_size(table)
    like = jax.ShapeDtypeStruct((size, table.shape[1]), table.dtype)
    shapes = jax.eval_shape(function, params, like)
    out = jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype), shapes)

    def work(out: Any, start: Array) -> tuple[Any, None]:
        done = function(params, table.block(start, size))
        put = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=start, axis=0)
        return jax.tree.map(put, out, done), None

    return jax.lax.scan(work, out, _starts(rows, size)[0])[0]


def _forward(function: Callable[..., Any], params: Any, table: StreamedTable) -> tuple[Any, Any]:
    return _in_blocks(function, params, table), (params, table)


def _backward(
    function: Callable[..., Any], kept: tuple[Any, StreamedTable], pull: Any
) -> tuple[Any, Any]:
    params, table = kept
    size = _block_size(table)

    def add(total: Any, block: tuple[Array, Array]) -> tuple[Any, None]:
        start, had = block
        rows = table.block(start, size)
        counts = jnp.arange(size) >= had

        def cut(leaf: Array) -> Array:
            part = jax.lax.dynamic_slice_in_dim(leaf, start, size)
            return jnp.where(counts.reshape(-1, *[1] * (leaf.ndim - 1)), part, 0.0)

        pulled = jax.vjp(lambda params: function(params, rows), params)[1](jax.tree.map(cut, pull))
        return jax.tree.map(jnp.add, total, pulled[0]), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    total, _ = jax.lax.scan(add, zeros, _starts(table.shape[0], size))
    return total, None


_in_blocks.defvjp(_forward, _backward)
