"""Polis in --smoke mode: tables, figures, resumed parts, and embeddings of two kinds."""

import dataclasses

import numpy as np
import pytest

from experiments import polis
from experiments.common.tiny_model import write_sentence_encoder
from lore_jax.cli.main import main
from lore_jax.embed import embed_texts
from lore_jax.evaluation.names import MISMATCHED_USER, PERMUTED_USERS
from lore_jax.evaluation.results import Where, read_results, select
from lore_jax.storage.cache.manifest import read_manifest


def test_polis(tmp_path, capsys, monkeypatch):
    config = polis.Config(out=tmp_path / "run", smoke=True)
    results = polis.run(config)
    text = capsys.readouterr().out
    assert (tmp_path / "run" / "tables.md").read_text().strip() in text
    assert "agree/disagree votes" in text
    assert read_results(tmp_path / "run" / "results.json") == results
    assert results["encoder"] == {"model": "random"}
    assert {row["data"] for row in results["rows"]} == {"one", "two"}
    assert {row["items"] for row in results["rows"]} == {"known items", "new items"}
    for control in (None, MISMATCHED_USER, PERMUTED_USERS):
        assert select(
            results,
            Where(method="gaussian", control=control, users="unseen", items="new items", shots=5),
        )
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {
        "shots-new-items.png",
        "shots-known-items.png",
        "reliability-new-items.png",
        "users-one.png",
    } <= figures

    # Parts that are there are not made again; a missing one is.
    (tmp_path / "run" / "parts" / "two-known-items-0.json").unlink()
    made = []
    evaluate_part = polis.evaluate_part
    monkeypatch.setattr(
        polis,
        "evaluate_part",
        lambda *args, **kw: made.append(args[3]) or evaluate_part(*args, **kw),
    )
    again = polis.run(config)
    assert made == ["known items"]
    assert again["rows"] == results["rows"]

    with pytest.raises(ValueError, match=r"one-new-items-0\.json was made with other settings"):
        polis.run(dataclasses.replace(config, seed=1))


def test_polis_with_embeddings_made_here(tmp_path, capsys, monkeypatch):
    model = write_sentence_encoder(tmp_path / "model")
    root = polis.make_conversations(tmp_path / "made", seed=0)  # what --smoke makes
    assert (
        main(["embed", str(root / "one"), "--model", str(model), "--out", str(tmp_path / "one")])
        == 0
    )
    config = polis.Config(
        out=tmp_path / "run",
        embeddings=tmp_path / "one",
        conversations=("one",),
        tests=("new items",),
        smoke=True,
    )
    tables = []
    evaluate_part = polis.evaluate_part
    monkeypatch.setattr(
        polis,
        "evaluate_part",
        lambda *args, **kw: tables.append(args[1].of(args[0])) or evaluate_part(*args, **kw),
    )
    results = polis.run(config)
    (table,) = tables
    statements = [f"Statement {number} of conversation one" for number in range(24)]
    np.testing.assert_allclose(table, embed_texts(statements, model), atol=2e-5)
    assert results["encoder"] == read_manifest(tmp_path / "one")["encoder"]
    assert (
        read_results(tmp_path / "run" / "parts" / "one-new-items-0.json")["encoder"]
        == results["encoder"]
    )

    with pytest.raises(
        ValueError, match=r"one-new-items-0\.json was made with other settings \(encoder\)"
    ):
        polis.run(dataclasses.replace(config, embeddings=None))
    both = dataclasses.replace(config, out=tmp_path / "both", conversations=())
    with pytest.raises(
        ValueError,
        match="one lacks 24 of 48 responses, the first 'Statement 0 of conversation two'",
    ):
        polis.run(both)
    assert not (tmp_path / "both" / "parts").exists()
    capsys.readouterr()


def test_polis_without_data_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="--data must name the folder"):
        polis.run(polis.Config(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
