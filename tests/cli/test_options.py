"""Options that several commands share."""

from pathlib import Path

import pytest

from lore_jax.cli.options import UserNames, are_polis
from lore_jax.export.parquet import hash_user_ids


def test_names_are_written_as_they_are_or_hashed(tmp_path):
    assert UserNames().apply([1, "ann"]) == ["1", "ann"]
    assert UserNames(hash_ids=True).apply(["ann"]) == hash_user_ids(["ann"]).tolist()
    key = tmp_path / "key"
    key.write_bytes(b"secret")
    hashed = UserNames(hash_ids=True, hash_key=key).apply(["ann"])
    assert hashed == hash_user_ids(["ann"], b"secret").tolist()
    with pytest.raises(ValueError, match="--hash-key is given without --hash-ids"):
        UserNames(hash_key=key).apply(["ann"])


def test_sources_are_folders_or_one_file(tmp_path):
    assert are_polis([tmp_path, tmp_path])
    assert not are_polis([Path("pairs.jsonl")])
    with pytest.raises(ValueError, match="2 sources are given"):
        are_polis([Path("a.jsonl"), Path("b.jsonl")])
    with pytest.raises(ValueError, match="no source is given"):
        are_polis([])
