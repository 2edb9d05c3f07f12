"""Reddit TLDR: from files to tables, resumed; no text on both sides of the split."""

import dataclasses
import json

import numpy as np
import pytest
from published_checks import check_outputs, texts_on_both_sides

from experiments import reddit_tldr
from lore_jax.datasets.leaks import number_texts
from lore_jax.datasets.reddit_tldr import read_reddit_tldr
from lore_jax.evaluation.names import MISMATCHED_USER, PERMUTED_USERS
from lore_jax.evaluation.results import Where, select


def test_reddit_tldr_from_files_to_tables_and_resumed(tmp_path, monkeypatch, capsys):
    config = reddit_tldr.Config(out=tmp_path / "run", smoke=True)
    results = reddit_tldr.main(config)
    text = check_outputs(
        tmp_path / "run", results, ["reference head", "ridge BT", "LoRe", "gaussian"]
    )
    assert text.strip() in capsys.readouterr().out
    assert "1 rows dropped: no post" in text
    assert results["splits"][0]["dropped"] == {
        "workers with too few pairs": 0,
        "training pairs with a text of the test": 0,
    }
    for control in (None, MISMATCHED_USER, PERMUTED_USERS):
        assert select(results, Where(method="gaussian", control=control, users="unseen", shots=10))

    # Parts that are there are not made again, nor is anything embedded; other settings are refused.
    monkeypatch.setattr(reddit_tldr, "draw", lambda *args: pytest.fail("made again"))
    monkeypatch.setattr("lore_jax.embed.embed_pairs", lambda *args: pytest.fail("embedded again"))
    assert reddit_tldr.main(config)["rows"] == results["rows"]
    with pytest.raises(ValueError, match=r"TLDR-16-0\.json was made with other settings"):
        reddit_tldr.main(dataclasses.replace(config, rank=3, paper=True))


def test_reddit_tldr_keeps_texts_apart(files, tmp_path):
    lines = (files / "tldr" / "comparisons" / "batch3.json").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    # A post of the validation turns up in the training split, and a summary of it under another
    # post.
    tests = [row for row in rows if row["split"] == "valid1"]
    rows[5]["info"]["post"] = tests[3]["info"]["post"]
    rows[7]["summaries"][0]["text"] = tests[4]["summaries"][1]["text"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    published = read_reddit_tldr(tmp_path)
    prefs = published.pairs.preferences(np.ones((len(published.pairs.responses), 1), np.float32))
    is_test = (published.column("split") == "validation")[prefs.row]
    config = reddit_tldr.Config(out=tmp_path, at_least=10)
    drawn = reddit_tldr.draw(prefs, is_test, number_texts(published.pairs.responses), config, 16, 0)
    assert not texts_on_both_sides(drawn, published.pairs.responses)
    assert drawn.dropped["training pairs with a text of the test"] == 2
    assert drawn.train.pairs_per_user().tolist() == [16] * 6
    with pytest.raises(ValueError, match="0 workers have 50 training pairs and a test pair"):
        reddit_tldr.draw(prefs, is_test, None, reddit_tldr.Config(out=tmp_path), 16, 0)
    few = dataclasses.replace(config, at_least=24)
    assert (
        reddit_tldr.draw(prefs, is_test, None, few, 16, 0).dropped["workers with too few pairs"]
        == 0
    )
