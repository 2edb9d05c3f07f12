"""Weights from a Hugging Face folder of safetensors to the devices, one array at a time.

Files are mapped into memory and every array is converted and put on its device by itself, so that
the host never holds more than one layer's array; the layers of a kind are written into one stacked
array, which `jax.lax.scan` runs over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from lore_jax.embed.transformer.architectures import Architecture, Decoder
from lore_jax.embed.transformer.bidirectional import encoder_parameters
from lore_jax.embed.transformer.causal import decoder_parameters
from lore_jax.embed.transformer.layers import Parameter
from lore_jax.embed.transformer.placement import Placement
from lore_jax.storage.files import json_sha256, sha256_of
from lore_jax.storage.safetensors import Tensor, read_header

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
# Parts of a published model that the last hidden state does not need: language-model heads,
# poolers, stored constants.
_NOT_NEEDED = re.compile(r"(?:^|\.)(?:lm_head|cls|pooler|rotary_emb|position_ids)(?:\.|$)")
_NAMES_SHOWN = 8


class StoredTensor(NamedTuple):
    """Where an array is stored: the file, and the place in it."""

    file: Path
    tensor: Tensor

    def map(self) -> np.ndarray:
        """The array, mapped read-only; its pages leave memory with it."""
        dtype, shape, offset = self.tensor
        return np.memmap(self.file, dtype, "r", offset, shape)


def load_params(
    folder: Path, model: Architecture, placement: Placement, dtype: Any = None
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Loads a model's weights.

    Args:
        folder: the model's folder, with `model.safetensors` or shards and their index.
        model: its architecture.
        placement: which device gets what.
        dtype: bfloat16 or float32; None: bfloat16 if the files are, else float32.

    Returns:
        The params, those of the layers stacked under `layers`, and the score head, float32 `[dim]`,
        if there is one.

    Raises:
        FileNotFoundError: there are no weights, or a shard is missing.
        ValueError: a file is corrupt or half-downloaded; names are missing or unexpected, or a
            shape is another one:
            the message lists them name by name.

    Example:
        >>> folder = Path("all-MiniLM-L6-v2")
        >>> model = read_architecture(folder)
        >>> params, head = load_params(folder, model, place(model))
    """
    table = decoder_parameters(model) if isinstance(model, Decoder) else encoder_parameters(model)
    stored = find_tensors(folder)
    sources = _match(folder, table, stored, model.layers)
    if dtype is None:
        dtype = (
            jnp.bfloat16 if sources["embedding"][0].tensor.dtype == jnp.bfloat16 else jnp.float32
        )
    params: dict[str, Any] = {"layers": {}}
    head = None
    total = sum(np.prod(one.tensor.shape) for several in sources.values() for one in several)
    with tqdm(
        total=int(total),
        desc="loading weights",
        unit="",
        unit_scale=True,
        leave=False,
        disable=None,
    ) as bar:
        for name, several in sources.items():
            if name == "head":
                head = np.array(several[0].map()[0], np.float32)
            elif table[name].is_layered:
                params["layers"][name] = _stack(several, table[name], placement, dtype, bar)
            else:
                params[name] = _put(several[0].map(), placement.of(table[name]), dtype)
                bar.update(params[name].size)
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
        stored |= {tensor: StoredTensor(file, place) for tensor, place in read_header(file).items()}
    return stored


def _match(
    folder: Path, table: Mapping[str, Parameter], stored: Mapping[str, StoredTensor], layers: int
) -> dict[str, list[StoredTensor]]:
    """The stored array or arrays (one a layer) of each parameter, names and shapes checked."""
    # The family's prefix ("model.", "bert.") is there or not, depending on the class that saved the
    # files.
    anchor = table["embedding"].source
    found = [name for name in stored if name == anchor or name.endswith("." + anchor)]
    prefix = found[0].removesuffix(anchor) if len(found) == 1 else ""

    def names_of(name: str) -> list[str]:
        source = table[name].source if name == "head" else prefix + table[name].source
        return (
            [source.format(layer) for layer in range(layers)]
            if table[name].is_layered
            else [source]
        )

    expected = {name: names_of(name) for name in table}
    wanted = {source: name for name, several in expected.items() for source in several}
    problems = []
    if missing := [source for source in wanted if source not in stored]:
        problems.append(f"missing: {_listed(missing)}")
    if unexpected := [
        name for name in stored if name not in wanted and not _NOT_NEEDED.search(name)
    ]:
        problems.append(f"unexpected: {_listed(unexpected)}")
    wrong = [
        f"{source} is {list(stored[source].tensor.shape)}, {list(table[name].shape)} is expected"
        for source, name in wanted.items()
        if source in stored and stored[source].tensor.shape != table[name].shape
    ]
    if wrong:
        problems.append(f"of another shape: {_listed(wrong)}")
    if problems:
        raise ValueError(
            f"the weights in {folder} are not those its config.json describes; {'; '.join(problems)}"
        )
    return {name: [stored[source] for source in several] for name, several in expected.items()}


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + rest


def _put(array: np.ndarray, sharding: jax.sharding.Sharding, dtype: Any) -> jax.Array:
    """Puts an array on its devices; each part is cut from the map and converted by itself."""
    return jax.make_array_from_callback(
        array.shape, sharding, lambda part: np.array(array[part], dtype)
    )


def _stack(
    several: list[StoredTensor], parameter: Parameter, placement: Placement, dtype: Any, bar: tqdm
) -> jax.Array:
    """One array `[layers, ...]`, written layer by layer in place, so that it is never there twice."""
    sharding = placement.of(parameter)
    stack = jnp.zeros(
        (len(several), *parameter.shape), dtype, device=placement.of(parameter, stacked=True)
    )
    for layer, one in enumerate(several):
        stack = _write_layer(stack, _put(one.map(), sharding, dtype), layer)
        bar.update(int(np.prod(parameter.shape)))
    return stack


@jax.jit(donate_argnums=0)
def _write_layer(stack: jax.Array, array: jax.Array, layer: int) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(stack, array, layer, axis=0)


def model_identity(folder: Path) -> dict[str, str]:
    """What the cache's manifest says of a model: its name, and a digest of every file that decides
    its embeddings.

    Args:
        folder: the model's folder. In the Hugging Face cache, the name is the repository's and the
            revision is kept.

    Returns:
        `model`, `sha256` and, if the folder knows it, `revision`.
    """
    folder = folder.resolve() if folder.name in (".", "..") else folder
    patterns = ("*.json", "*.txt", "*.model", "*.jinja", "*/config.json")
    weights = {one.file for one in find_tensors(folder).values()}
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
