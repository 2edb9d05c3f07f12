"""Weights from a Hugging Face folder of safetensors to the devices, one array at a time.

Files are mapped into memory, and every array is converted and put on its device by itself, so that
the host never holds more than one layer's array. The arrays of all layers are written into one
stacked array, which `jax.lax.scan` runs over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
from lore_jax.storage.safetensors import Tensor, read_header

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
# Parts of published models that the last hidden state does not need: heads of language models,
# poolers, stored constants.
_NOT_NEEDED = re.compile(r"(?:^|\.)(?:lm_head|cls|pooler|rotary_emb|position_ids)(?:\.|$)")
_NAMES_SHOWN = 8


class StoredTensor(NamedTuple):
    """Where an array is stored.

    Attributes:
        file: the file.
        tensor: its type, shape and offset in the file.
    """

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
        The params, and the score head of a reward model, float32 `[dim]`.

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
    total = sum(np.prod(array.tensor.shape) for arrays in sources.values() for array in arrays)
    with tqdm(
        total=int(total),
        desc="loading weights",
        unit="",
        unit_scale=True,
        leave=False,
        disable=None,
    ) as bar:
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

    Args:
        folder: the model's folder.

    Returns:
        The arrays by name.

    Raises:
        FileNotFoundError: there are no safetensors files, or one that the index names is missing.
        ValueError: a file is corrupt or half-downloaded.
    """
    index = folder / _INDEX
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{index} is corrupt: a JSON object with a weight_map is expected"
            ) from None
        files = sorted(set(weight_map.values()))
    elif (folder / _SINGLE).is_file():
        files = [_SINGLE]
    else:
        other = sorted(entry.name for entry in folder.glob("*.bin"))
        hint = (
            f"; {other[0]} may run code when it is loaded: convert it to safetensors"
            if other
            else ""
        )
        raise FileNotFoundError(
            f"{folder} has no weights: {_SINGLE}, or {_INDEX} and its shards, is expected{hint}"
        )
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

    def names_of(name: str) -> list[str]:
        source = table[name].source if name == "head" else prefix + table[name].source
        if not table[name].is_layered:
            return [source]
        return [source.format(layer) for layer in range(layers)]

    sources = {name: names_of(name) for name in table}
    name_of = {source: name for name, names in sources.items() for source in names}
    problems = {
        "missing": [source for source in name_of if source not in stored],
        "unexpected": [
            name for name in stored if name not in name_of and not _NOT_NEEDED.search(name)
        ],
        "of another shape": [
            f"{source} is {list(stored[source].tensor.shape)}, "
            f"{list(table[name].shape)} is expected"
            for source, name in name_of.items()
            if source in stored and stored[source].tensor.shape != table[name].shape
        ],
    }
    if any(problems.values()):
        listed = (f"{title}: {_listed(names)}" for title, names in problems.items() if names)
        raise ValueError(
            f"the weights in {folder} are not those its config.json describes; {'; '.join(listed)}"
        )
    return {name: [stored[source] for source in names] for name, names in sources.items()}


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + rest


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
        bar.update(int(np.prod(parameter.shape)))
    return stack


@jax.jit(donate_argnums=0)
def _write_layer(stack: jax.Array, array: jax.Array, layer: int) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(stack, array, layer, axis=0)


def model_identity(folder: Path) -> dict[str, str]:
    """What a cache's manifest says of a model: its name, and one digest of all its files.

    Args:
        folder: the model's folder. In the Hugging Face cache, the name is the repository's and the
            revision is kept.

    Returns:
        `model`, `sha256` (of every file that its embeddings depend on) and, in the Hugging Face
        cache, `revision`.
    """
    folder = folder.resolve() if folder.name in (".", "..") else folder
    patterns = ("*.json", "*.txt", "*.model", "*.jinja", "*/config.json")
    weights = {array.file for array in find_tensors(folder).values()}
    files = sorted(weights.union(*(folder.glob(pattern) for pattern in patterns)))
    total = sum(entry.stat().st_size for entry in files)
    digests = {}
    with tqdm(
        total=total, desc="hashing the model", unit="B", unit_scale=True, leave=False, disable=None
    ) as bar:
        for entry in files:
            digests[entry.relative_to(folder).as_posix()] = sha256_of(entry)
            bar.update(entry.stat().st_size)
    identity = {"model": folder.name, "sha256": json_sha256(digests)}
    repository = folder.parent.parent
    if folder.parent.name == "snapshots" and repository.name.startswith("models--"):
        identity |= {
            "model": repository.name.removeprefix("models--").replace("--", "/"),
            "revision": folder.name,
        }
    return identity
