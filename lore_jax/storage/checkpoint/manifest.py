"""The manifest of a checkpoint: shape, dtype and digest of each leaf, and how two differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypedDict

import jax
import numpy as np
from jax.experimental import multihost_utils

from lore_jax.storage.files import canonical_json, json_sha256
from lore_jax.storage.json_fields import Count

FORMAT_VERSION = 1
Leaf = jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct


class ArrayEntry(TypedDict):
    """What a manifest keeps of a leaf (an array)."""

    shape: list[Count]
    dtype: str
    sha256: str


class CheckpointManifest(TypedDict):
    """What the manifest of a step says."""

    format_version: Count
    arrays: dict[str, ArrayEntry]
    extra: dict[str, Any]  # what the caller keeps beside the arrays, any JSON object
    sha256: str  # of the canonical JSON of the rest


def leaves_by_name(tree: object) -> dict[str, Leaf]:
    """The leaves by name, `params/V`; refuses what is no array."""
    named: dict[str, Leaf] = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(keys, simple=True, separator="/") or "state"
        if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape") or leaf.dtype == object:
            raise ValueError(f"{name} is a {type(leaf).__name__}: an array is expected")
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            wanted = "its numbers, jax.random.key_data(key), are expected"
            raise ValueError(f"{name} is a random key: {wanted}")
        if name in named:
            raise ValueError(f"two leaves are called {name!r}: names must differ")
        named[name] = leaf
    if not any(leaf.size for leaf in named.values()):
        raise ValueError("there is nothing to save: a pytree of arrays is expected")
    return named


def make_manifest(leaves: Mapping[str, Leaf], extra: Mapping[str, object]) -> CheckpointManifest:
    """Shape, dtype and digest of every leaf, `extra`, and a digest of all that."""
    arrays: dict[str, ArrayEntry] = {}
    for name, leaf in leaves.items():
        dtype = np.dtype(leaf.dtype).name
        arrays[name] = {"shape": list(leaf.shape), "dtype": dtype, "sha256": digest_of(leaf)}
    content = {"format_version": FORMAT_VERSION, "arrays": arrays, "extra": dict(extra)}
    # Through JSON once: the digest is of what will be read (tuples are lists, keys are texts).
    content = json.loads(canonical_json(content))
    return CheckpointManifest(**content, sha256=json_sha256(content))


def digest_of(leaf: Leaf) -> str:
    """The digest of the whole array, the same on every process and for every sharding."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    data = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
    return hashlib.sha256(data.data if data.size else b"").hexdigest()


def declared(manifest: CheckpointManifest) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of each array, as a manifest says.

    Raises:
        ValueError: there is no such type.
    """
    arrays = {}
    for name, entry in manifest["arrays"].items():
        try:
            arrays[name] = jax.ShapeDtypeStruct(tuple(entry["shape"]), entry["dtype"])
        except TypeError:
            raise ValueError(f"{name} has type {entry['dtype']!r}, which is none") from None
    return arrays


def differences(wanted: Mapping[str, Leaf], stored: Mapping[str, Leaf]) -> list[str]:
    """One line for each leaf that is not stored as it is wanted."""
    lines = []
    for name in {**wanted, **stored}:
        if name not in stored:
            lines.append(f"{name} is not in it")
        elif name not in wanted:
            lines.append(f"{name} {_dtype_and_shape(stored[name])} is not expected")
        elif (want := _dtype_and_shape(wanted[name])) != (have := _dtype_and_shape(stored[name])):
            lines.append(f"{name} is {have}, {want} is expected")
    return lines


def _dtype_and_shape(leaf: Leaf) -> str:
    return f"{np.dtype(leaf.dtype).name} {list(leaf.shape)}"
