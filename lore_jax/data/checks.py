"""Checks of the arrays that preferences are made of."""

from __future__ import annotations

from typing import cast

import jax
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Float, Float32, Int, Integer, Shaped

# Rows checked for NaN at a time, so that a memory-mapped table is never copied whole.
LONGEST_NAME = 1000  # characters of the name of a user or a prompt
_ROWS_PER_CHECK = 65_536


def check_table(embeddings: npt.ArrayLike) -> Float[np.ndarray | Array, "responses dim"]:
    """The table of embeddings, if its type, shape and dtype are right and its entries finite.

    float64, which sentence encoders and APIs give, becomes float32.
    """
    shape, dtype = getattr(embeddings, "shape", None), getattr(embeddings, "dtype", None)
    if shape is None or dtype is None:
        wanted = "a NumPy or JAX array [responses, dim] is expected"
        raise ValueError(f"embeddings is a {type(embeddings).__name__}: {wanted}")
    if len(shape) != 2 or 0 in shape:
        wanted = "[responses, dim], neither of them 0, is expected"
        raise ValueError(f"embeddings has shape {tuple(shape)}: {wanted}")
    if str(dtype) not in ("float16", "bfloat16", "float32", "float64"):
        wanted = "float16, bfloat16, float32 or float64 is expected"
        raise ValueError(f"embeddings has dtype {dtype}: {wanted}")
    table = cast(np.ndarray | Array, embeddings)
    if str(dtype) == "float64":
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
            table = table.astype(np.float32)
    for start in range(0, shape[0], _ROWS_PER_CHECK):
        block = table[start : start + _ROWS_PER_CHECK]
        if entry := first_not_finite(block):
            row, column = start + entry[0], entry[1]
            value = np.float32(block[entry])
            raise ValueError(f"embeddings row {row} holds {value} in column {column}: not finite")
    return table


def random_key(key: object) -> jax.Array:
    """A key of `jax.random.key`, or the one of a seed."""
    if isinstance(key, jax.Array):
        return key
    if isinstance(key, int | np.integer) and 0 <= key < 2**63:
        return jax.random.key(int(key))
    expected = "a key of jax.random.key, or a whole number from 0 and below 2**63"
    raise ValueError(f"key is {str(key)[:60]}: {expected}, is expected")


def first_not_finite(rows: Float[np.ndarray | Array, "rows dim"]) -> tuple[int, int] | None:
    """Row and column of the first entry that is NaN or infinite; None: there is none."""
    # A row whose sum is finite has finite entries; the others, whose sum may have overflown, are
    # looked at entry by entry.
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = ~np.isfinite(np.asarray(rows.sum(axis=1, dtype=np.float32)))
    for row in np.flatnonzero(suspects):
        columns = np.flatnonzero(~np.isfinite(np.asarray(rows[row], np.float32)))
        if columns.size:
            return int(row), int(columns[0])
    return None


def integers(name: str, value: npt.ArrayLike) -> Integer[np.ndarray, "pairs"]:
    """The array, if it holds integers `[pairs]`."""
    array = np.asarray(value)
    if array.size == 0:
        array = array.astype(np.int32)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        got = f"dtype {array.dtype} and shape {array.shape}"
        raise ValueError(f"{name} has {got}: integers [pairs] are expected")
    return array


def refuse(
    bad: Bool[np.ndarray, "entries"], message: str, values: Shaped[np.ndarray, "entries *any"]
) -> None:
    """Raises with the value and the index of the first bad entry, if there is one."""
    if bad.any():
        index = int(np.flatnonzero(bad)[0])
        raise ValueError(message.format(values[index], index))


def check_range(name: str, values: Integer[np.ndarray, "pairs"], limit: int, what: str) -> None:
    """Every entry must be 0 or more and below the limit."""
    refuse((values < 0) | (values >= limit), name + " is {} in pair {}, outside " + what, values)


def check_user_ids(
    user_ids: Shaped[np.ndarray, "..."], num_users: int | None
) -> Shaped[np.ndarray, "users"]:
    """The users' names as texts, if they differ."""
    if user_ids.ndim != 1:
        wanted = "[num_users], one name a user, is expected"
        raise ValueError(f"user_ids has shape {user_ids.shape}: {wanted}")
    if num_users is not None and len(user_ids) != num_users:
        got = f"{len(user_ids)} names for {num_users} users"
        raise ValueError(f"user_ids has {got}: one name a user is expected")
    named = user_ids.astype(str)
    # As an array of texts, every name takes as much memory as the longest.
    if named.size and (longest := named.dtype.itemsize // 4) > LONGEST_NAME:
        wanted = f"at most {LONGEST_NAME:,} are expected"
        raise ValueError(f"user_ids holds a name of {longest:,} characters: {wanted}")
    names, counts = np.unique(named, return_counts=True)
    if (counts > 1).any():
        name, times = str(names[counts > 1][0]), counts[counts > 1][0]
        raise ValueError(f"user_ids holds {name!r} {times} times: names must differ")
    return named


def check_pair_weight(
    pair_weight: npt.ArrayLike | None, pairs: int, order: Int[np.ndarray, "pairs"]
) -> Float32[np.ndarray, "pairs"]:
    """How much each pair counts, in the order given; ones for None."""
    ones = np.broadcast_to(np.float32(1.0), pairs)  # takes no memory
    if pair_weight is None:
        return ones
    array = np.asarray(pair_weight)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"pair_weight has dtype {array.dtype}: numbers are expected")
    array = array.astype(np.float32)
    if array.shape != (pairs,):
        wanted = f"[{pairs}], one entry a pair, is expected"
        raise ValueError(f"pair_weight has shape {array.shape}: {wanted}")
    message = "pair_weight is {} in pair {}: finite and 0 or more is expected"
    refuse(~np.isfinite(array) | (array < 0), message, array)
    return ones if np.all(array == 1.0) else array[order]


def check_head(head: npt.ArrayLike | None, dim: int) -> Float32[np.ndarray, "dim"] | None:
    """The reference head in float32, if there is one."""
    if head is None:
        return None
    array = np.asarray(jax.device_get(head), np.float32)
    if array.shape != (dim,):
        wanted = f"[{dim}], as wide as the embeddings, is expected"
        raise ValueError(f"head has shape {array.shape}: {wanted}")
    refuse(~np.isfinite(array), "head holds {} in entry {}: not finite", array)
    return array
