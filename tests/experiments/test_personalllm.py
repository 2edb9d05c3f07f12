"""PersonalLLM: the paper's numbers beside ours; no prompt or text on both sides of the split."""

import numpy as np
import pytest
from published_checks import check_outputs, texts_on_both_sides

from experiments import personalllm
from lore_jax.data.preferences import from_arrays


def test_personalllm_in_paper_mode_prints_the_papers_numbers(tmp_path):
    results = personalllm.main(personalllm.Config(out=tmp_path / "run", smoke=True, paper=True))
    text = check_outputs(
        tmp_path / "run", results, ["reference head", "BT", "LoRe", "LoRe, weights by Adam"]
    )
    assert "[93.6]" in text
    assert "| VPL (paper)" in text
    assert all(row["num_pairs"] <= 8 * 8 for row in results["rows"])


@pytest.mark.parametrize("paper", [False, True])
def test_personalllm_keeps_prompts_and_texts_apart(files, tmp_path, paper):
    data = personalllm.read_personalllm(files / "personalllm")
    table = np.ones((len(data.responses), 1), np.float32)
    prefs = from_arrays(table, [0], [1], [0])
    config = personalllm.Config(out=tmp_path, users=6, prompts=12, shots=5, paper=paper)
    drawn = personalllm.draw(data, prefs, config, 0.5, 3)
    assert not texts_on_both_sides(drawn, data.responses)
    assert drawn.train.pairs_per_user().tolist() == [12] * 6
    assert drawn.shots.pairs_per_user().tolist() == [5 if paper else 12] * 6
    assert [test.pairs_per_user().tolist() for test in drawn.tests] == [[8] * 6] * 2
    again = personalllm.draw(data, prefs, config, 0.5, 4)
    assert not np.array_equal(drawn.train.chosen, again.train.chosen)
