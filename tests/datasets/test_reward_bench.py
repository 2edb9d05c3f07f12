"""RewardBench 2: what a won prompt is, and rows that are refused."""

import numpy as np
import pytest

from experiments.common.smoke_data import write_jsonl
from lore_jax.datasets.reward_bench import read_reward_bench


def write(path, rows):
    write_jsonl(path, rows)
    return path


def test_a_prompt_is_won_if_every_correct_reply_is_above_every_incorrect_one(tmp_path):
    rows = [
        {"prompt": "A?", "chosen": ["a"], "rejected": ["b", "c", "d"], "subset": "Math"},
        {"prompt": "B?", "chosen": ["a", "b"], "rejected": ["c"], "subset": "Ties"},
    ]
    bench = read_reward_bench(write(tmp_path / "test.jsonl", rows))
    assert [response.reply for response in bench.pairs.responses] == [
        "a",
        "b",
        "c",
        "d",
        "a",
        "b",
        "c",
    ]
    scores = np.array(
        [[3, 1, 1, 2, 3, 2, 1], [3, 1, 1, 3, 3, 1, 1], [-3, 1, 1, 2, 1, 2, 0]], float
    ).T
    np.testing.assert_array_equal(bench.won(scores), [[True, False, False], [True, False, True]])
    assert bench.subset.tolist() == ["Math", "Ties"]
    for changes, message in (
        ({"chosen": "a"}, "chosen is 'a': a list of replies"),
        ({"rejected": []}, r"rejected is \[\]: a list of replies"),
        ({"rejected": ["a"]}, "'a' is both chosen and rejected"),
    ):
        with pytest.raises(ValueError, match=message):
            read_reward_bench(write(tmp_path / "bad.jsonl", [rows[0] | changes]))
