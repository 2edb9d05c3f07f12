"""Every experiment runs in --smoke mode, and a stopped one goes on."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import polis, throughput
from experiments.tiny_model import write_sentence_encoder
from lore_jax.cache import read_manifest
from lore_jax.cli import main
from lore_jax.embed import embed_texts
from lore_jax.results import read_results, select


def test_polis(tmp_path, capsys, monkeypatch):
    config = polis.Config(out=tmp_path / "run", smoke=True)
    results = polis.run(config)
    text = capsys.readouterr().out
    assert (tmp_path / "run" / "tables.md").read_text().strip() in text
    assert "agree/disagree votes" in text
    assert read_results(tmp_path / "run" / "results.json") == results
    assert results["encoder"] == {"model": "random"}
    assert {row["data"] for row in results["rows"]} == {"one", "two"}
    assert {row["units"] for row in results["rows"]} == {"seen", "unseen"}
    for control in (None, "other user", "shuffled users"):
        assert select(results, method="gaussian", control=control, users="unseen", units="unseen", shots=5)
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"shots-unseen.png", "shots-seen.png", "reliability-unseen.png", "users-one.png"} <= figures

    # Parts that are there are not made again; a missing one is.
    (tmp_path / "run" / "parts" / "two-seen-0.json").unlink()
    made = []
    evaluate_part = polis.evaluate_part
    monkeypatch.setattr(polis, "evaluate_part", lambda *args, **kw: made.append(args[3]) or evaluate_part(*args, **kw))
    again = polis.run(config)
    assert made == ["seen"]
    assert again["rows"] == results["rows"]

    with pytest.raises(ValueError, match=r"one-unseen-0\.json was made with other settings"):
        polis.run(dataclasses.replace(config, seed=1))


def test_polis_with_embeddings_made_here(tmp_path, capsys, monkeypatch):
    model = write_sentence_encoder(tmp_path / "model")
    root = polis.make_conversations(tmp_path / "made", seed=0)  # what --smoke makes
    assert main(["embed", str(root / "one"), "--model", str(model), "--out", str(tmp_path / "one")]) == 0
    config = polis.Config(
        out=tmp_path / "run", embeddings=tmp_path / "one", conversations=("one",), tests=("unseen",), smoke=True
    )
    tables = []
    evaluate_part = polis.evaluate_part
    monkeypatch.setattr(
        polis, "evaluate_part", lambda *args, **kw: tables.append(args[1]) or evaluate_part(*args, **kw)
    )
    results = polis.run(config)
    (table,) = tables
    statements = [f"Statement {number} of conversation one" for number in range(24)]
    np.testing.assert_allclose(table, embed_texts(statements, model), atol=2e-5)
    assert results["encoder"] == read_manifest(tmp_path / "one")["encoder"]
    assert read_results(tmp_path / "run" / "parts" / "one-unseen-0.json")["encoder"] == results["encoder"]

    with pytest.raises(ValueError, match=r"one-unseen-0\.json was made with another encoder's embeddings"):
        polis.run(dataclasses.replace(config, embeddings=None))
    both = dataclasses.replace(config, out=tmp_path / "both", conversations=())
    with pytest.raises(ValueError, match="one lacks 24 of 48 responses, the first 'Statement 0 of conversation two'"):
        polis.run(both)
    assert not (tmp_path / "both" / "parts").exists()
    capsys.readouterr()


def test_polis_without_data_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="--data must name the folder"):
        polis.run(polis.Config(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_throughput(tmp_path, capsys):
    sections = ["fit", "distinct", "adapt", "users", "score", "memory"]
    result = throughput.main(["--out", str(tmp_path), "--smoke", "--only", *sections])
    assert json.loads((tmp_path / "throughput.json").read_text()) == json.loads(json.dumps(result))
    assert (tmp_path / "throughput.md").read_text().strip() in capsys.readouterr().out
    assert [name for name in sections if any(row["section"] == name for row in result["rows"])] == sections
    for row in result["rows"]:
        assert {"section", "work", "method", "note"} <= set(row)
        assert row.get("seconds", row.get("bytes", 0)) > 0
        assert "failed" not in row["note"]
    ours = [row for row in result["rows"] if row["method"].startswith("lore_jax") and "seconds" in row]
    assert {row["section"] for row in ours if row["ratio"] == 1.0} == set(sections) - {"memory"}
