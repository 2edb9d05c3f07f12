"""PyTorch's zip files read without PyTorch and without running anything in them.

`torch.save` writes a zip: `NAME/data.pkl`, a pickle that says how tensors are put together, and
`NAME/data/KEY`, the bytes of each storage. A pickle is a program, and loading one runs what it
says. Here its instructions are read one by one (`pickletools.genops` decodes them and does nothing
else), and only those that put tensors, numbers, texts, lists and dictionaries together are obeyed;
the few names that such a file may mention stand for code of this module. Whatever else is met ends
the reading.
"""

from __future__ import annotations

import math
import os
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from jaxtyping import Shaped

_LONGEST_PROGRAM = 16_000_000  # bytes of data.pkl: tensors are not in it
_STORAGES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_TENSOR, _PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
_DICT = "collections OrderedDict"
_NAMES = {_TENSOR, _PARAMETER, _DICT, *(f"torch {name}" for name in _STORAGES)}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_MARK = object()


class _Name(NamedTuple):
    """A name of the file: what it means is decided here."""

    text: str


class _Storage(NamedTuple):
    """The bytes of a storage, as numbers."""

    numbers: np.ndarray


def read_torch_file(
    path: str | os.PathLike[str],
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The tensors of a file of `torch.save`, by their place in it.

    Args:
        path: of a tensor, or of lists and dictionaries of tensors (a `state_dict`).

    Returns:
        Arrays by name: the keys on the way, joined by dots; "" for a tensor alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no zip file of PyTorch, is corrupt, or holds anything but tensors,
            numbers, texts, lists and dictionaries; the message says what.

    Example:
        >>> read_torch_file("V_ref.pt")[""].shape  # doctest: +SKIP
        (4096, 1)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            programs = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(programs) != 1:
                problem = f"{len(programs)} entries named data.pkl: one is expected"
                raise ValueError(f"{path} is not a file of torch.save: it has {problem}")
            prefix = programs[0].removesuffix("data.pkl")
            if prefix + "byteorder" in archive.namelist():
                order = archive.read(prefix + "byteorder")
                if order != b"little":
                    raise ValueError(f"{path} has byte order {order[:20]!r}: little is expected")
            if archive.getinfo(programs[0]).file_size > _LONGEST_PROGRAM:
                raise ValueError(f"{path}: data.pkl is too long for a description of tensors")
            storages: dict[str, _Storage] = {}

            def load(kind: str, key: str, count: int) -> _Storage:
                if key not in storages:
                    numbers = _read_storage(archive, f"{prefix}data/{key}", kind, count)
                    storages[key] = _Storage(numbers)
                return storages[key]

            content = _Machine(load).run(archive.read(programs[0]))
            return dict(_named(content, ""))
    except zipfile.BadZipFile:
        problem = "no zip file, or a corrupt one: files of torch.save since version 1.6 are read"
        raise ValueError(f"{path} is {problem}") from None
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    except (IndexError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"{path}: data.pkl is not what torch.save writes") from None


def _read_storage(archive: zipfile.ZipFile, name: str, kind: str, count: int) -> np.ndarray:
    """One storage, its size checked before it is read."""
    dtype = _STORAGES[kind]
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"{name} is missing") from None
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != count * dtype.itemsize:
        sizes = f"{entry.file_size} bytes for {count} numbers of type {dtype.name}"
        raise ValueError(f"{name} is corrupt: {sizes}")
    return np.frombuffer(archive.read(entry), dtype)


class _Machine:
    """Obeys the instructions that put tensors together, and no others."""

    def __init__(self, load: Callable[[str, str, int], _Storage]) -> None:
        self.load = load
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """The value that a program describes."""
        for instruction, argument, _ in pickletools.genops(program):
            name = instruction.name
            if name == "STOP":
                (result,) = self.stack
                return result
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif (method := getattr(self, f"_{name.lower()}", None)) is not None:
                method(argument)
            elif name not in ("PROTO", "FRAME"):
                raise ValueError(f"data.pkl has the instruction {name}: this is not just tensors")
        raise ValueError("data.pkl ends too soon")

    def _since_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:  # IndexError where there is none
            at -= 1
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def _mark(self, _: object) -> None:
        self.stack.append(_MARK)

    def _empty_dict(self, _: object) -> None:
        self.stack.append({})

    def _empty_list(self, _: object) -> None:
        self.stack.append([])

    def _empty_tuple(self, _: object) -> None:
        self.stack.append(())

    def _tuple(self, _: object) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple1(self, _: object) -> None:
        self.stack[-1:] = [tuple(self.stack[-1:])]

    def _tuple2(self, _: object) -> None:
        self.stack[-2:] = [tuple(self.stack[-2:])]

    def _tuple3(self, _: object) -> None:
        self.stack[-3:] = [tuple(self.stack[-3:])]

    def _binput(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    _long_binput = _binput

    def _memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _binget(self, number: int) -> None:
        self.stack.append(self.memo[number])

    _long_binget = _binget

    def _append(self, _: object) -> None:
        value = self.stack.pop()
        self._container(list).append(value)

    def _appends(self, _: object) -> None:
        values = self._since_mark()
        self._container(list).extend(values)

    def _setitem(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._container(dict)[key] = value

    def _setitems(self, _: object) -> None:
        values = self._since_mark()
        self._container(dict).update(zip(values[::2], values[1::2], strict=True))

    def _container(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError("data.pkl fills something that is neither a list nor a dictionary")
        return self.stack[-1]

    def _global(self, text: str) -> None:
        if text not in _NAMES:
            raise ValueError(f"data.pkl names {text.replace(' ', '.')}: it would run code")
        self.stack.append(_Name(text))

    def _stack_global(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._global(f"{module} {name}")

    def _binpersid(self, _: object) -> None:
        kind, storage, key, _location, count = self.stack.pop()
        known = isinstance(storage, _Name) and storage.text.removeprefix("torch ") in _STORAGES
        is_plain = type(key) is str and type(count) is int and "/" not in key
        if kind != "storage" or not known or not is_plain:
            raise ValueError("data.pkl refers to something that is no storage of a known type")
        self.stack.append(self.load(storage.text.removeprefix("torch "), key, count))

    def _reduce(self, _: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        name = function.text if isinstance(function, _Name) else None
        if name == _DICT and arguments == ():
            self.stack.append({})
        elif name == _TENSOR:
            self.stack.append(_tensor(*arguments[:4]))
        elif name == _PARAMETER and isinstance(arguments[0], np.ndarray):
            self.stack.append(arguments[0])
        else:
            raise ValueError("data.pkl calls something: it would run code")

    def _build(self, _: object) -> None:
        """A state_dict carries the versions of its modules as attributes: they are let go."""
        self.stack.pop()
        self._container(dict)


def _tensor(storage: object, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """Some numbers of a storage as an array of its own."""
    numbers = (offset, *size, *stride)
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise ValueError("data.pkl makes a tensor of something that is no storage")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"data.pkl makes a tensor of size {size} and stride {stride}")
    held = storage.numbers
    if 0 in size:
        return np.zeros(size, held.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= len(held):
        raise ValueError(f"data.pkl reads number {last} of a storage of {len(held)}")
    if math.prod(size) > len(held):  # a stride of 0 would make any size of one number
        raise ValueError(f"data.pkl makes a tensor of size {size} from {len(held)} numbers")
    steps = [step * held.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(held[offset:], size, steps).copy()


def _named(value: Any, name: str) -> list[tuple[str, np.ndarray]]:
    """The arrays in nested lists and dictionaries; numbers and texts are let go."""
    if isinstance(value, np.ndarray):
        return [(name, value)]
    if isinstance(value, dict):
        items = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, list | tuple) else []
    found = []
    for key, inner in items:
        found += _named(inner, f"{name}.{key}" if name else str(key))
    return found
