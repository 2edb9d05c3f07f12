"""What a manifest says of a cache, corrupt and unfinished ones included."""

import shutil

import pytest
from small_cache import write

from lore_jax.storage.cache.manifest import describe_cache, encoder_fingerprint, read_manifest
from lore_jax.storage.cache.reader import load_cache


def test_fingerprint_follows_the_encoder(tmp_path):
    base = encoder_fingerprint(
        read_manifest(write(tmp_path / "a", encoder={"model": "m", "length": 256}))
    )
    assert base == encoder_fingerprint(
        read_manifest(write(tmp_path / "b", dtype="float32", encoder={"length": 256, "model": "m"}))
    )
    for number, encoder in enumerate(({"model": "m", "length": 512}, {"model": "m"}, {})):
        assert base != encoder_fingerprint(
            read_manifest(write(tmp_path / f"c{number}", encoder=encoder))
        )


def test_describe(rich, tmp_path):
    report = describe_cache(rich)
    assert (
        report["responses"],
        report["dim"],
        report["dtype"],
        report["pairs"],
        report["users"],
    ) == (
        20,
        4,
        "bfloat16",
        4,
        3,
    )
    assert (
        report["finished"],
        report["corrupt"],
        report["unexpected_files"],
        report["shards"],
    ) == (
        True,
        [],
        [],
        3,
    )
    assert report["fingerprint"] == encoder_fingerprint(read_manifest(rich))
    folder = shutil.copytree(rich, tmp_path / "cache")
    (folder / "notes.txt").write_text("x")
    (folder / "manifest.json").write_text("{}")
    (folder / "embeddings-00002.safetensors").write_text("<html>")
    lines = describe_cache(folder)["corrupt"]
    assert ["manifest.json" in lines[0], "embeddings-00002" in lines[1], len(lines)] == [
        True,
        True,
        2,
    ]
    with pytest.raises(FileNotFoundError, match="is not a cache"):
        describe_cache(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"nowhere is not a cache: it has no manifest\.json"
    ):
        load_cache(tmp_path / "nowhere")
