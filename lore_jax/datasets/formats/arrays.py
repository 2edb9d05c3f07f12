"""Arrays that people have: embeddings and a reference head, from .npy or .safetensors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float

from lore_jax.storage.safetensors import map_tensor, read_header


def load_embeddings(path: str | os.PathLike[str]) -> Float[np.ndarray, "responses dim"]:
    """Maps an array of embeddings into memory.

    Args:
        path: a `.npy` file, or a `.safetensors` file with one array or one named `embeddings`.

    Returns:
        `[responses, dim]`, read-only, of any floating type.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another kind of file, a corrupt one, or an array of another shape or type.
    """
    return _load_array(Path(path), "embeddings", ("responses", "dim"))


def load_vector(path: str | os.PathLike[str]) -> Float[np.ndarray, " dim"]:
    """Loads a reference head, float32 `[dim]`.

    Args:
        path: a `.npy` file, or a `.safetensors` file with one array or one named `head`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another kind of file, a corrupt one, or an array of another shape or type.
    """
    return np.array(_load_array(Path(path), "head", ("dim",)), np.float32)


def _load_array(path: Path, name: str, axes: tuple[str, ...]) -> np.ndarray:
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file: an array in .npy or .safetensors is expected")
    if path.suffix == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            # NumPy would advise to load it in a way that runs what it holds.
            reason = "" if "pickle" in str(error) else f": {str(error).splitlines()[0]}"
            raise ValueError(f"{path} is not a whole .npy file of numbers{reason}") from None
    elif path.suffix == ".safetensors":
        array = map_tensor(path, name if name in read_header(path) else None)
    else:
        expected = "an array in .npy or .safetensors is expected"
        raise ValueError(f"{path} ends in {path.suffix!r}: {expected}")
    is_bfloat16 = array.dtype.name == "bfloat16"
    if array.dtype.kind == "V" and not is_bfloat16:
        reason = ".npy cannot keep bfloat16, save it as .safetensors"
        raise ValueError(f"{path} has the raw type {array.dtype}: {reason}")
    if array.ndim != len(axes) or not (array.dtype.kind == "f" or is_bfloat16):
        expected = f"floats [{', '.join(axes)}] are expected"
        raise ValueError(f"{path} holds {array.dtype} {list(array.shape)}: {expected}")
    return array
