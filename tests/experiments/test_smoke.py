"""Every experiment runs in --smoke mode, and a stopped one goes on."""

import dataclasses
import json

import numpy as np
import pytest

from benchmarks import throughput
from experiments import abstention, polis, sentence
from experiments.common.tiny_model import write_sentence_encoder
from lore_jax.cli.main import main
from lore_jax.embed import embed_texts
from lore_jax.evaluation.results import read_results, select
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
    for control in (None, "mismatched user", "permuted users"):
        assert select(
            results, method="gaussian", control=control, users="unseen", items="new items", shots=5
        )
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {
        "shots-new-items.png",
        "shots-known-items.png",
        "reliability-new-items.png",
        "users-one.png",
    } <= figures

    # Parts that are there are not made again; a missing one is.
    (tmp_path / "run" / "parts" / "two-seen-0.json").unlink()
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

    with pytest.raises(ValueError, match=r"one-unseen-0\.json was made with other settings"):
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
        lambda *args, **kw: tables.append(args[1]) or evaluate_part(*args, **kw),
    )
    results = polis.run(config)
    (table,) = tables
    statements = [f"Statement {number} of conversation one" for number in range(24)]
    np.testing.assert_allclose(table, embed_texts(statements, model), atol=2e-5)
    assert results["encoder"] == read_manifest(tmp_path / "one")["encoder"]
    assert (
        read_results(tmp_path / "run" / "parts" / "one-unseen-0.json")["encoder"]
        == results["encoder"]
    )

    with pytest.raises(
        ValueError, match=r"one-unseen-0\.json was made with another encoder's embeddings"
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


def test_throughput(tmp_path, capsys):
    sections = ["fit", "distinct", "adapt", "users", "score", "memory"]
    result = throughput.main(["--out", str(tmp_path), "--smoke", "--only", *sections])
    assert json.loads((tmp_path / "throughput.json").read_text()) == json.loads(json.dumps(result))
    assert (tmp_path / "throughput.md").read_text().strip() in capsys.readouterr().out
    assert [
        name for name in sections if any(row["section"] == name for row in result["rows"])
    ] == sections
    for row in result["rows"]:
        assert {"section", "work", "method", "note"} <= set(row)
        assert row.get("seconds", row.get("bytes", 0)) > 0
        is_fit = row["section"] in ("fit", "distinct") and row["method"].startswith("lore_jax")
        assert ("% of 40 further choices right" in row["note"]) == is_fit
    ours = [
        row for row in result["rows"] if row["method"].startswith("lore_jax") and "seconds" in row
    ]
    assert {row["section"] for row in ours if row["ratio"] == 1.0} == set(sections) - {"memory"}


def test_sentence(tmp_path, capsys, monkeypatch):
    config = sentence.Config(out=tmp_path, smoke=True)
    result = sentence.run(config)
    assert sentence.table(result) in capsys.readouterr().out
    assert json.loads((tmp_path / "sentence.json").read_text()) == result
    assert list(result["cases"]) == ["equal", "shuffled", "differ"]
    for of in result["cases"].values():
        assert of["seeds"] == 2
        assert of["right"] == 2 - len(of["wrong seeds"])
    # A seed that is there is not made again, and one of other settings is refused.
    (tmp_path / "parts" / "1.json").unlink()
    made = []
    conclude = sentence.conclude
    monkeypatch.setattr(
        sentence, "conclude", lambda *args, seed: made.append(seed) or conclude(*args, seed=seed)
    )
    assert sentence.run(config) == result
    assert made == [1, 1, 1]
    other = dataclasses.replace(sentence.SMOKE, shots=10)
    monkeypatch.setattr(sentence, "SMOKE", other)
    with pytest.raises(ValueError, match=r"0\.json was made with other settings"):
        sentence.run(config)


def test_the_sentence_is_asked_about_what_it_says():
    sizes = dataclasses.replace(sentence.SMOKE, seen=30, unseen=50)
    _, data = sentence.simulate(sizes, 1.0, seen=30, unseen=50, seed=0)
    assert [part.num_users for part in data] == [30, 50, 50]
    for part, count in zip(data, (sizes.pairs, sizes.shots, sizes.tests), strict=True):
        np.testing.assert_array_equal(part.pairs_per_user(), count)
    known = np.concatenate([data.train.prompt, data.shots.prompt])
    assert not np.isin(data.test.prompt, known).any()  # the test is on new prompts
    dealt = sentence.shuffled(data, seed=0)
    for part, of in zip(data, dealt, strict=True):
        np.testing.assert_array_equal(part.pairs_per_user(), of.pairs_per_user())
        np.testing.assert_array_equal(np.sort(part.row), np.sort(of.row))
        assert (
            np.sort(of.row.reshape(part.num_users, -1))
            != np.sort(part.row.reshape(part.num_users, -1))
        ).any()
    # Users who do not differ gain nothing, those who differ more gain more.
    gains = [sentence.planted_gain(sizes, spread, seed=0) for spread in (0.0, 0.7, 1.5)]
    assert gains[0] == 0.0
    assert gains[0] < gains[1] < gains[2]


def test_abstention(tmp_path, capsys):
    result = abstention.run(abstention.Config(out=tmp_path / "run", shots=(0, 5), smoke=True))
    assert abstention.table(result) in capsys.readouterr().out
    assert [(row["test"], row["shots"]) for row in result["rows"]] == [
        (t, k) for t in ("new items", "known items") for k in (0, 5)
    ]
    for row in result["rows"]:
        assert 0 <= row["fell back"]["mean"] <= 1
        if not row["shots"]:  # nobody has said anything: everybody is the population
            assert (
                row["personal"]["mean"]
                == row["with falling back"]["mean"]
                == row["population"]["mean"]
            )
    with pytest.raises(FileNotFoundError, match="--data must name the folder"):
        abstention.run(abstention.Config(out=tmp_path / "other"))
    assert not (tmp_path / "other").exists()
