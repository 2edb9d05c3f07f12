"""Safetensors files with 64-byte aligned data, and memory maps into any safetensors file.

The layout (https://huggingface.co/docs/safetensors): 8 bytes, the little-endian length of a JSON
header; the header, `{name: {"dtype", "shape", "data_offsets": [start, stop]}}`, offsets counted
from its end; then the data, without holes. Blanks at the end of the header move the data to the
boundary: NumPy maps it in place, and JAX takes the map on a CPU without a copy (`jax.device_put`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

from lore_jax.storage.files import FileRecord, write_file

_ALIGNMENT = 64
_LONGEST_HEADER = 100_000_000  # the format's own limit
_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Tensor(NamedTuple):
    """NumPy type, shape, and first byte (counted from the start of the file) of an array."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int


def write_tensors(path: Path, tensors: Mapping[str, Shaped[np.ndarray, "..."]]) -> FileRecord:
    """Writes arrays to a safetensors file, whole or not at all, the data 64-byte aligned.

    Args:
        path: the file, replaced if it is there.
        tensors: arrays by name, in the order they are written.

    Returns:
        Size and sha256 of the file.

    Raises:
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> write_tensors(Path("x.safetensors"), {"embeddings": np.eye(4)})  # doctest: +SKIP
    """
    header = make_header({name: (array.dtype, array.shape) for name, array in tensors.items()})

    def chunks() -> Iterator[bytes | memoryview]:
        yield header
        for array in tensors.values():
            if array.size:
                yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data

    return write_file(path, chunks())


def make_header(tensors: Mapping[str, tuple[np.dtype, tuple[int, ...]]]) -> bytes:
    """What a safetensors file begins with; the arrays' bytes follow it without holes.

    Args:
        tensors: type and shape of each array by name, in the order of the data.

    Returns:
        Length and header, padded so that the data begin at a multiple of 64 bytes.

    Example:
        >>> len(make_header({"x": (np.dtype(np.float32), (2, 3))})) % 64
        0
    """
    header, stop = {}, 0
    for name, (dtype, shape) in tensors.items():
        start, stop = stop, stop + int(np.prod(shape, dtype=object)) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": (start, stop)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def read_header(path: Path) -> dict[str, Tensor]:
    """Reads where the arrays of a safetensors file lie, checked against the size of the file.

    Args:
        path: any safetensors file.

    Returns:
        The arrays by name; no data is read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a safetensors file, a truncated one, or one with an unknown type.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST_HEADER):
            problem = "is not a safetensors file, or its beginning is corrupt"
            raise ValueError(f"{path} ({size} bytes) {problem}")
        text = file.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        spans = {
            name: (entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])
            for name, entry in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path} is not a safetensors file, or its header is corrupt") from None
    tensors, data = {}, 8 + length
    for name, (dtype, shape, start, stop) in spans.items():
        if dtype not in _DTYPES:
            known = ", ".join(_DTYPES)
            raise ValueError(f"{path}: {name!r} has type {dtype}; the types known are {known}")
        array = f"{name!r} of shape {shape}, type {dtype}"
        if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
            raise ValueError(f"{path} is corrupt: {array}, lies at {start} to {stop}")
        if int(np.prod(shape, dtype=object)) * _DTYPES[dtype].itemsize != stop - start:
            raise ValueError(f"{path} is corrupt: {array}, has {stop - start} bytes")
        if (end := data + stop) > size:
            ends = f"{name!r} ends at byte {end}, the file has {size}"
            raise ValueError(f"{path} is truncated: {ends}")
        tensors[name] = Tensor(_DTYPES[dtype], shape, data + start)
    return tensors


def map_tensor(path: Path, name: str | None = None) -> Shaped[np.ndarray, "..."]:
    """Maps one array of a safetensors file into memory, read-only; pages are read when touched.

    Args:
        path: any safetensors file.
        name: the array's name; None: the only array of the file.

    Returns:
        The array, backed by the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is corrupt, or holds no such array (the message says which it holds).
    """
    tensors = read_header(path)
    if name is None and len(tensors) == 1:
        name = next(iter(tensors))
    if name not in tensors:
        wanted = "one array" if name is None else f"the array {name!r}"
        content = ", ".join(map(repr, tensors)) or "nothing"
        raise ValueError(f"{path} holds {content}: {wanted} is expected")
    dtype, shape, offset = tensors[name]
    if 0 in shape:
        return np.zeros(shape, dtype)  # an empty map does not exist
    return np.memmap(path, dtype, "r", offset, shape)
