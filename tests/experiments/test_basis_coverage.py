"""Intervals on new responses are wider where the basis is learned from few of them."""

import json

import numpy as np

from experiments import basis_coverage
from experiments.basis_coverage import Config, Setting, simulate, table


def test_the_table_and_the_file(tmp_path, capsys):
    config = Config(tmp_path, users=30, pairs=10, shots=5, tests=5, smoke=True)
    result = basis_coverage.run(config)
    assert table(result["measured"]) in capsys.readouterr().out
    assert json.loads((tmp_path / "basis_coverage.json").read_text()) == result
    assert [row["dim"] for row in result["measured"]] == [16, 128]
    for row in result["measured"]:
        assert row["held, basis as known"] < row["held"] <= 1.0


def test_test_responses_are_new_and_margins_are_those_of_the_choices():
    config = Config(None, users=40, pairs=10, shots=5, tests=30)
    data = simulate(config, Setting(40, 8, 0.0), seed=0)
    assert data.train.num_responses == data.shots.num_responses == 40
    assert min(data.test.chosen.min(), data.test.rejected.min()) >= 40
    # The probability of the recorded choice, averaged over choices: E[s] = 1 - 2 E[s (1 - s)].
    right = 1.0 / (1.0 + np.exp(-data.margins))
    expected = np.mean(right**2 + (1.0 - right) ** 2)
    assert abs(right.mean() - expected) < 4.0 * np.std(right) / np.sqrt(len(right))
