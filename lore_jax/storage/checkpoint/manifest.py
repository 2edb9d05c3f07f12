"""What a checkpoint's manifest says: the leaves by name, their shapes, dtypes and digests, and how
two of them differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from lore_jax.storage.files import canonical_json

FORMAT_VERSION = 1


def leaves_by_name(tree: Any) -> dict[str, Any]:
    """The leaves by name, `params/V`; refuses what is no array."""
    named: dict[str, Any] = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(keys, simple=True, separator="/") or "state"
        if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape") or leaf.dtype == object:
            raise ValueError(f"{name} is a {type(leaf).__name__}: an array is expected")
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise ValueError(
                f"{name} is a random key: its numbers, jax.random.key_data(key), are expected"
            )
        if name in named:
            raise ValueError(f"two leaves are called {name!r}: names must differ")
        named[name] = leaf
    if not any(leaf.size for leaf in named.values()):
        raise ValueError("there is nothing to save: a pytree of arrays is expected")
    return named


def make_manifest(leaves: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Shape, dtype and digest of every leaf, `extra`, and a digest of all that."""
    arrays = {
        name: {
            "shape": list(leaf.shape),
            "dtype": np.dtype(leaf.dtype).name,
            "sha256": digest_of(leaf),
        }
        for name, leaf in leaves.items()
    }
    # Through JSON once, so that the digest is of what will be read: tuples are lists there, and
    # keys are texts.
    content = json.loads(
        canonical_json({"format_version": FORMAT_VERSION, "arrays": arrays, "extra": dict(extra)})
    )
    return {**content, "sha256": hashlib.sha256(canonical_json(content)).hexdigest()}


def digest_of(leaf: Any) -> str:
    """The digest of the whole array, the same on every process and for every sharding."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    data = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
    return hashlib.sha256(data.data if data.size else b"").hexdigest()


def differences(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """One line for each leaf that is not stored as it is wanted."""
    lines = []
    for name in [*wanted, *(name for name in stored if name not in wanted)]:
        if name not in stored:
            lines.append(f"{name} is not in it")
        elif name not in wanted:
            lines.append(f"{name} {_kind(stored[name])} is not expected")
        elif _kind(wanted[name]) != _kind(stored[name]):
            lines.append(f"{name} is {_kind(stored[name])}, {_kind(wanted[name])} is expected")
    return lines


def _kind(leaf: Any) -> str:
    return f"{np.dtype(leaf.dtype).name} {list(leaf.shape)}"
