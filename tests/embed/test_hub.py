"""A model of the hub: which of its files are fetched, and what is said where that fails."""

import huggingface_hub
import pytest

from lore_jax.embed.hub import fetch_model


def test_no_code_and_no_pickled_weights_are_fetched(monkeypatch, tmp_path):
    asked = {}

    def download(name, **options):
        asked[name] = options
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch_model("owner/model") == tmp_path
    patterns = asked["owner/model"]["allow_patterns"]
    assert not [
        ending for ending in (".py", ".bin", ".pt", ".pkl") for p in patterns if ending in p
    ]


def test_what_cannot_be_fetched_is_one_line(monkeypatch):
    def download(name, **options):
        raise RuntimeError("no such repository\nand a long explanation")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(
        OSError, match=r"^owner/model is no folder, .* fetched: no such repository$"
    ):
        fetch_model("owner/model")
    with pytest.raises(FileNotFoundError, match="models/a/b does not exist: a model's folder"):
        fetch_model("models/a/b")
