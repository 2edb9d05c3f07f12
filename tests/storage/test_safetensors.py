"""Safetensors files: the usual library and ours read what the other writes."""

import numpy as np
import pytest
import safetensors.numpy

from lore_jax.storage.safetensors import map_tensor, read_header, write_tensors


def test_reads_what_safetensors_writes(tmp_path):
    table = np.random.default_rng(0).normal(size=(100, 24)).astype(np.float32)
    arrays = {
        "a": table,
        "b": np.arange(5, dtype=np.int64),
        "empty": np.zeros((0, 3), np.float16),
        "c": np.array([True]),
    }
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "np"})
    write_tensors(tmp_path / "y.safetensors", arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(map_tensor(tmp_path / "x.safetensors", name), array)
        np.testing.assert_array_equal(
            safetensors.numpy.load_file(tmp_path / "y.safetensors")[name], array
        )


def test_the_data_is_aligned_and_mapped(tmp_path):
    path = tmp_path / "x.safetensors"
    for name in ("a", "a" * 50):
        write_tensors(path, {name: np.arange(6, dtype=np.int16).reshape(2, 3)})
        tensor = read_header(path)[name]
        assert tensor == (np.dtype(np.int16), (2, 3), tensor.offset)
        assert tensor.offset % 64 == 0
        array = map_tensor(path)  # the only array of the file
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable


HEADER = '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
BAD_FILES = {
    "empty": (b"", r"\(0 bytes\) is not a safetensors file, or its beginning is corrupt"),
    "html": (b"<html> an error page", "is not a safetensors file"),
    "not JSON": ((3).to_bytes(8, "little") + b"{x}", "its header is corrupt"),
    "truncated": (HEADER, "is truncated: 'a' ends at byte"),
    "unknown type": (HEADER.replace("F32", "F8"), "'a' has type F8; the types known are F64, F32"),
    "another size": (HEADER.replace("[2]", "[3]"), "is corrupt: 'a' of shape .* has 8 bytes"),
    "negative": (HEADER.replace("0, 8", "-8, 0"), "is corrupt: 'a' of shape .* lies at -8 to 0"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(tmp_path, name):
    content, message = BAD_FILES[name]
    if isinstance(content, str):
        content = len(content).to_bytes(8, "little") + content.encode()
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_header(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


def test_an_array_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": np.ones(2), "b": np.ones(3)})
    with pytest.raises(ValueError, match="holds 'a', 'b': the array 'c' is expected"):
        map_tensor(path, "c")
    with pytest.raises(ValueError, match="holds 'a', 'b': one array is expected"):
        map_tensor(path)
