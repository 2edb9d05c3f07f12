"""Weights from a Hugging Face folder of safetensors to the devices, one array at a time.

Files are mapped into memory, and every array is converted and put on its device by itself, so that
the host never holds more than one layer's array. The arrays of all layers are written into one
stacked array, which `jax.lax.scan` runs over.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Shaped
from tqdm import tqdm

from lore_jax.embed.transformer.architectures import Architecture, Decoder
from lore_jax.embed.transformer.bidirectional import encoder_parameters
from lore_jax.embed.transformer.causal import decoder_parameters
from lore_jax.embed.transformer.layers import Parameter, Params
from lore_jax.embed.transformer.placement import Placement
from lore_jax.storage.files import json_sha256, sha256_of
from lore_jax.storage.json_fields import check_fields
from lore_jax.storage.safetensors import Tensor, read_header

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
# Parts of published models that the last hidden state does not need: heads of language models,
# poolers, stored constants.
_NOT_NEEDED = re.compile(r"(?:^|\.)(?:lm_head|cls|pooler|rotary_emb|position_ids)(?:\.|$)")
_NAMES_SHOWN = 8


class StoredTensor(NamedTuple):
    """The file that holds an array; its type, shape and offset in it."""

    file: Path
    tensor: Tensor

    def map(self) -> Shaped[np.ndarray, "*shape"]:
        """The array, mapped read-only; its pages leave memory with the map."""
        dtype, shape, offset = self.tensor
        return np.memmap(self.file, dtype, "r", offset, shape)


def load_params(
    folder: Path, model: Architecture, placement: Placement, dtype: DTypeLike | None = None
) -> tuple[Params, Float[np.ndarray, " dim"] | None]:
    """Loads a model's weights.

    Args:
        folder: the model's folder, with `model.safetensors` or shards and their index.
        model: its architecture.
        placement: the mesh of devices.
        dtype: bfloat16 or float32; None: bfloat16 if the files are, else float32.

    Returns:
        The params, and the score head of a reward model (float32).

    Raises:
        FileNotFoundError: there are no weights, or a shard is missing.
        ValueError: a file is corrupt or half-downloaded; or names are missing or unexpected, or a
            shape is another one: the message lists them name by name.

    Example:
        >>> folder = Path("all-MiniLM-L6-v2")
        >>> model = read_architecture(folder)  # doctest: +SKIP
        >>> params, head = load_params(folder, model, make_placement(model))  # doctest: +SKIP
    """
    table = decoder_parameters(model) if isinstance(model, Decoder) else encoder_parameters(model)
    stored = find_tensors(folder)
    sources = _match(folder, table, stored, model.layers)
    is_half = sources["embedding"][0].tensor.dtype == jnp.bfloat16
    default = jnp.bfloat16 if is_half else jnp.float32
    number_type: DTypeLike = default if dtype is None else dtype
    params = Params(single={}, layers={})
    head = None
    total = sum(math.prod(array.tensor.shape) for array in chain.from_iterable(sources.values()))
    with _progress("loading weights", "", total) as bar:
        for name, arrays in sources.items():
            if name == "head":
                head = np.array(arrays[0].map()[0], np.float32)
            elif table[name].is_layered:
                params.layers[name] = _stack(arrays, table[name], placement, number_type, bar)
            else:
                sharding = placement.sharding(table[name])
                params.single[name] = _put(arrays[0].map(), sharding, number_type)
                bar.update(params.single[name].size)
    return params, head


def find_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Where each array of a model's folder is stored; headers are read and checked, no data.

    Raises:
        FileNotFoundError: there are no safetensors files, or one that the index names is missing.
        ValueError: a file is corrupt or half-downloaded.
    """
    index = folder / _INDEX
    if index.is_file():
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or "weight_map" not in content:
            expected = "a JSON object with a weight_map is expected"
            raise ValueError(f"{index} is corrupt: {expected}")
        check_fields(content["weight_map"], dict[str, str], f"{index}: weight_map")
        files = sorted(set(content["weight_map"].values()))
    elif (folder / _SINGLE).is_file():
        files = [_SINGLE]
    else:
        expected = f"{_SINGLE}, or {_INDEX} and its shards, is expected"
        if other := sorted(entry.name for entry in folder.glob("*.bin")):
            expected += f"; {other[0]} may run code when it is loaded: convert it to safetensors"
        raise FileNotFoundError(f"{folder} has no weights: {expected}")
    stored = {}
    for name in files:
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing, which {_INDEX} names: download it again")
        stored |= {key: StoredTensor(file, tensor) for key, tensor in read_header(file).items()}
    return stored


def _match(
    folder: Path, table: Mapping[str, Parameter], stored: Mapping[str, StoredTensor], layers: int
) -> dict[str, list[StoredTensor]]:
    """The stored array or arrays (one a layer) of each parameter, names and shapes checked."""
    # Whether names have the family's prefix ("model.", "bert.") depends on the class that saved
    # the files.
    embedding = table["embedding"].source
    matches = [name for name in stored if name == embedding or name.endswith("." + embedding)]
    prefix = matches[0].removesuffix(embedding) if len(matches) == 1 else ""
    sources = {}
    for name, parameter in table.items():
        source = parameter.source if name == "head" else prefix + parameter.source
        copies = range(layers if parameter.is_layered else 1)
        sources[name] = [source.format(layer) for layer in copies]
    shapes = {source: table[name].shape for name, names in sources.items() for source in names}
    unexpected = [name for name in stored if name not in shapes and not _NOT_NEEDED.search(name)]
    reshaped = [
        f"{source} is {list(stored[source].tensor.shape)}, {list(shape)} is expected"
        for source, shape in shapes.items()
        if source in stored and stored[source].tensor.shape != shape
    ]
    missing = [source for source in shapes if source not in stored]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    if any(problems.values()):
        listed = (f"{title}: {_listed(names)}" for title, names in problems.items() if names)
        raise ValueError(
            f"the weights in {folder} are not those its config.json describes; {'; '.join(listed)}"
        )
    return {name: [stored[source] for source in names] for name, names in sources.items()}


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + rest


def _progress(description: str, unit: str, total: int) -> tqdm:
    options = {"unit": unit, "unit_scale": True, "leave": False, "disable": None}
    return tqdm(desc=description, total=total, **options)


def _put(array: np.ndarray, sharding: jax.sharding.Sharding, dtype: DTypeLike) -> jax.Array:
    """Puts an array on its devices; each part is cut from the map and converted by itself."""
    return jax.make_array_from_callback(
        array.shape, sharding, lambda part: np.array(array[part], dtype)
    )


def _stack(
    arrays: list[StoredTensor],
    parameter: Parameter,
    placement: Placement,
    dtype: DTypeLike,
    bar: tqdm,
) -> jax.Array:
    """One array `[layers, ...]`, written layer by layer in place, so that it is held once."""
    sharding = placement.sharding(parameter)
    stack_sharding = placement.sharding(parameter, stacked=True)
    stack = jnp.zeros((len(arrays), *parameter.shape), dtype, device=stack_sharding)
    for layer, array in enumerate(arrays):
        stack = _write_layer(stack, _put(array.map(), sharding, dtype), layer)
        bar.update(math.prod(parameter.shape))
    return stack


@jax.jit(donate_argnums=0)
def _write_layer(stack: jax.Array, array: jax.Array, layer: int) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(stack, array, layer, axis=0)


def model_identity(folder: Path) -> dict[str, str]:
    """What a cache's manifest says of a model: its name, and one digest of all its files.

    Returns:
        `model`, `sha256` (of every file that its embeddings depend on) and, in the Hugging Face
        cache, where the name is the repository's, `revision`.
    """
    folder = folder.resolve() if folder.name in (".", "..") else folder
    patterns = ("*.json", "*.txt", "*.model", "*.jinja", "*/config.json")
    weights = {array.file for array in find_tensors(folder).values()}
    files = sorted(weights.union(*(folder.glob(pattern) for pattern in patterns)))
    total = sum(entry.stat().st_size for entry in files)
    digests = {}
    with _progress("hashing the model", "B", total) as bar:
        for entry in files:
            digests[entry.relative_to(folder).as_posix()] = sha256_of(entry)
            bar.update(entry.stat().st_size)
    identity = {"model": folder.name, "sha256": json_sha256(digests)}
    repository = folder.parent.parent
    if folder.parent.name == "snapshots" and repository.name.startswith("models--"):
        name = repository.name.removeprefix("models--").replace("--", "/")
        identity |= {"model": name, "revision": folder.name}
    return identity
