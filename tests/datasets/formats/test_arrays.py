"""Embeddings and heads from files: what they may be, and what is refused."""

import ml_dtypes
import numpy as np
import pytest

from lore_jax.datasets.formats.arrays import load_embeddings, load_vector
from lore_jax.storage.safetensors import write_tensors


def test_load_embeddings(tmp_path):
    table = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    np.save(tmp_path / "e.npy", table)
    write_tensors(
        tmp_path / "e.safetensors",
        {"embeddings": table.astype(ml_dtypes.bfloat16), "head": table[0]},
    )
    np.testing.assert_array_equal(load_embeddings(tmp_path / "e.npy"), table)
    np.testing.assert_array_equal(
        load_embeddings(tmp_path / "e.safetensors"), table.astype(ml_dtypes.bfloat16)
    )


BAD_EMBEDDINGS = {
    "objects": (np.array([{}, {}]), "is not a whole .npy file of numbers"),
    "bfloat16 in npy": (np.zeros((2, 2), ml_dtypes.bfloat16), "has the raw type"),
    "three axes": (
        np.zeros((2, 2, 2), np.float32),
        r"holds float32 \[2, 2, 2\]: floats \[responses, dim\]",
    ),
    "integers": (np.zeros((2, 2), np.int32), "holds int32"),
}


@pytest.mark.parametrize("name", BAD_EMBEDDINGS)
def test_bad_embeddings(tmp_path, name):
    array, message = BAD_EMBEDDINGS[name]
    np.save(tmp_path / "e.npy", array)
    with pytest.raises(ValueError, match=f"e.npy {message}"):
        load_embeddings(tmp_path / "e.npy")


def test_head(tmp_path):
    np.save(tmp_path / "head.npy", np.arange(3.0))
    assert load_vector(tmp_path / "head.npy").dtype == np.float32
    np.testing.assert_array_equal(load_vector(tmp_path / "head.npy"), [0, 1, 2])
    np.save(tmp_path / "head.npy", np.zeros((3, 1)))
    with pytest.raises(
        ValueError, match=r"head.npy holds float64 \[3, 1\]: floats \[dim\] are expected"
    ):
        load_vector(tmp_path / "head.npy")


def test_bad_embedding_files(tmp_path):
    for name, content, message in (
        ("e.npy", b"", "not a whole .npy"),
        ("e.npy", b"<html>", "not a whole .npy"),
        ("e.safetensors", b"<html><body>", "not a safetensors file"),
        ("e.pt", b"x", "in .npy or .safetensors is expected"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_embeddings(tmp_path / name)
    np.save(tmp_path / "t.npy", np.zeros((100, 8), np.float32))
    (tmp_path / "t.npy").write_bytes((tmp_path / "t.npy").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"not a whole .npy"):
        load_embeddings(tmp_path / "t.npy")
