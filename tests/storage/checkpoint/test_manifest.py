"""What a checkpoint's manifest says of its leaves."""

import hashlib
import json

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lore_jax.storage.checkpoint.manifest import (
    differences,
    digest_of,
    leaves_by_name,
    make_manifest,
)
from lore_jax.storage.files import canonical_json, with_checksum


def test_canonical_json_is_what_the_digest_is_of():
    manifest = make_manifest({}, {"b": (1, 2), "a": 0.1})
    assert manifest["extra"] == json.loads(canonical_json({"a": 0.1, "b": [1, 2]}))
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    assert canonical_json(manifest) == with_checksum(content)


def test_leaves_are_named_by_their_path():
    leaves = leaves_by_name({"params": {"V": np.ones(3)}, "opt": (np.zeros(2), np.int64(1))})
    assert list(leaves) == ["opt/0", "opt/1", "params/V"]
    assert list(leaves_by_name(np.ones(3))) == ["state"]
    with pytest.raises(ValueError, match="a is a str: an array is expected"):
        leaves_by_name({"a": "text"})


def test_the_digest_is_of_the_bytes_whatever_the_sharding():
    table = np.arange(80, dtype=np.float32).reshape(16, 5)
    expected = hashlib.sha256(table.tobytes()).hexdigest()
    split = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    for leaf in (table, np.asfortranarray(table), jax.device_put(table, split)):
        assert digest_of(leaf) == expected
    assert digest_of(np.zeros((3, 0))) == hashlib.sha256().hexdigest()


def test_differences_name_what_is_stored_and_what_is_wanted():
    wanted = {"V": np.zeros((4, 2), np.float32), "b": np.zeros(2, np.int32), "c": np.zeros(1)}
    stored = {
        "V": jax.ShapeDtypeStruct((4, 2), "float32"),
        "b": np.zeros(3, np.int32),
        "d": wanted["c"],
    }
    assert differences(wanted, stored) == [
        "b is int32 [3], int32 [2] is expected",
        "c is not in it",
        "d float64 [1] is not expected",
    ]
    assert differences(wanted, wanted) == []
