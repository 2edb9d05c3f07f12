"""Options that several commands share: users' names, and what the sources are."""

import hashlib
import hmac

import pytest

from lore_jax.cli.options import UserNames, are_polis


def test_users_keep_their_names_or_get_hashes(tmp_path):
    assert UserNames().apply(["ann", 7]) == ["ann", "7"]
    (tmp_path / "key").write_bytes(b"secret")
    for names, key in ((UserNames(True), b""), (UserNames(True, tmp_path / "key"), b"secret")):
        expected = [hmac.new(key, name, hashlib.sha256).hexdigest() for name in (b"ann", b"7")]
        assert names.apply(["ann", "7"]) == expected
    with pytest.raises(ValueError, match="--hash-key is given without --hash-ids"):
        UserNames(hash_key=tmp_path / "key").apply(["ann"])
    with pytest.raises(ValueError, match="the users' names are hashes already"):
        UserNames(True).apply(UserNames(True).apply(["ann", "7"]))


def test_sources_are_one_file_or_folders(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.touch()
    assert not are_polis([file])
    assert are_polis([tmp_path, tmp_path])
    saved = tmp_path / "saved"  # as `datasets` saves rows
    saved.mkdir()
    (saved / "state.json").touch()
    assert not are_polis([saved])
    with pytest.raises(ValueError, match="no source is given"):
        are_polis([])
    with pytest.raises(ValueError, match="2 sources are given: one file, or Polis folders"):
        are_polis([file, file])
