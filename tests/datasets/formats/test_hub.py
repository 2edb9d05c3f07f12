"""A data set is fetched only when it is named."""

import huggingface_hub
import pytest

from lore_jax.datasets.formats.hub import Home, locate


def test_the_hub_is_asked_only_by_name(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, **kw: asked.append((name, kw)) or str(tmp_path),
    )
    home = Home("owner/name", ("*.jsonl",), "branch")
    assert locate(tmp_path, home) == tmp_path
    with pytest.raises(
        FileNotFoundError, match=r"owner/nam does not exist: a folder is expected, or 'owner/name'"
    ):
        locate("owner/nam", home)
    assert not asked
    assert locate("owner/name", home) == tmp_path
    assert asked == [
        (
            "owner/name",
            {"repo_type": "dataset", "revision": "branch", "allow_patterns": ["*.jsonl"]},
        )
    ]

    def offline(*_, **__):
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(OSError, match=r"owner/name could not be fetched: no route$"):
        locate("owner/name", home)
