"""A scratch folder with a few comparisons of texts, and an array of embeddings."""

import json

import numpy as np
import pytest
from command_line import ROWS


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, a scratch folder with pairs.jsonl and table.npy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    np.save("table.npy", np.eye(4, dtype=np.float64))
    return tmp_path
