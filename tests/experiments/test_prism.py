"""PRISM: shots are dialogues; no text on both sides of the split; accuracy by group."""

import json

import numpy as np
import pytest
from published_checks import check_outputs, texts_on_both_sides

from experiments import prism
from lore_jax.datasets.leaks import number_texts
from lore_jax.datasets.prism import read_prism
from lore_jax.evaluation.results import Where, select


def test_prism_in_paper_mode_counts_shots_in_dialogues(tmp_path):
    results = prism.main(prism.Config(out=tmp_path / "run", smoke=True, paper=True))
    text = check_outputs(
        tmp_path / "run", results, ["reference head", "BT", "LoRe", "LoRe, weights by Adam"]
    )
    assert "10 dialogues" in text
    assert "[71.0]" in text  # the paper's
    assert sorted({row["shots"] for row in select(results, Where(users="unseen"))}) == [0, 1, 10]
    (entry,) = results["splits"]
    assert len(entry["users"]["seen"]) == len(entry["users"]["unseen"]) == 7


@pytest.mark.parametrize("paper", [False, True])
def test_prism_keeps_texts_apart(files, tmp_path, paper):
    history = [{"turn": 0, "role": "user", "content": "Hello"}]
    history += [
        {"turn": 0, "role": "model", "content": text, "if_chosen": text == "Hi!"}
        for text in ("Hi!", "No.", "?")
    ]
    rows = [
        {"conversation_id": f"same {i}", "user_id": f"user{i}", "conversation_history": history}
        for i in range(14)
    ]
    lines = (files / "prism" / "conversations.jsonl").read_text() + "".join(
        json.dumps(row) + "\n" for row in rows
    )
    (tmp_path / "conversations.jsonl").write_text(lines)
    published = read_prism(tmp_path)
    prefs = published.pairs.preferences(np.ones((len(published.pairs.responses), 1), np.float32))
    texts = number_texts(published.pairs.responses)
    drawn = prism.draw(prefs, texts, prism.Config(out=tmp_path, paper=paper), 0)
    assert not texts_on_both_sides(drawn, published.pairs.responses)
    assert drawn.dropped["training pairs with a text of the test"] > 0
    assert texts_on_both_sides(
        prism.draw(prefs, None, prism.Config(out=tmp_path, paper=paper), 0),
        published.pairs.responses,
    )
    for train, test in ((drawn.train, drawn.tests[0]), (drawn.shots, drawn.tests[1])):
        assert not set(train.prompt) & set(test.prompt)
    parts = (
        drawn.train.num_pairs + drawn.shots.num_pairs + sum(test.num_pairs for test in drawn.tests)
    )
    left_out = (
        drawn.dropped["training pairs with a text of the test"] + drawn.dropped["cross-split pairs"]
    )
    assert parts + left_out == prefs.num_pairs
