"""The speed of embedding, measured with --smoke on the statements of two small conversations."""

import json
import sys

import numpy as np

from benchmarks import embed_throughput, throughput
from experiments.common.tiny_model import write_sentence_encoder
from experiments.polis import make_conversations


def test_embed_throughput(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # lore_jax alone
    root = make_conversations(tmp_path / "data", seed=0)
    model = write_sentence_encoder(tmp_path / "model")
    assert len(embed_throughput.polis_texts(root)) == 48
    result = embed_throughput.main(["--model", str(model), "--data", str(root), "--smoke"])
    assert json.loads(capsys.readouterr().out) == result
    assert result["texts"] == 32
    assert list(result["texts_per_second"]) == ["jax"]
    (row,) = throughput.embed_section(model, root, smoke=True)
    assert (row["work"], row["method"]) == ("embed 32 texts", "lore_jax")
    assert np.isfinite(row["seconds"])
    assert list(throughput.embed_section(None, root, smoke=True)) == []
