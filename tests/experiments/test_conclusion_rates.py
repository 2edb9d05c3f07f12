"""Rates of the conclusion in --smoke mode, and the data it is drawn from."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import conclusion_rates


def test_conclusion_rates(tmp_path, capsys, monkeypatch):
    config = conclusion_rates.Config(out=tmp_path, smoke=True)
    result = conclusion_rates.run(config)
    assert conclusion_rates.table(result) in capsys.readouterr().out
    assert json.loads((tmp_path / "conclusion_rates.json").read_text()) == result
    assert list(result["cases"]) == ["equal", "permuted", "differ"]
    for case in result["cases"].values():
        assert case["seeds"] == 2
        assert case["right"] == 2 - len(case["wrong seeds"])
    # A seed that is there is not made again, and one of other settings is refused.
    (tmp_path / "parts" / "1.json").unlink()
    made = []
    conclusion_of = conclusion_rates.conclusion_of
    monkeypatch.setattr(
        conclusion_rates,
        "conclusion_of",
        lambda *args, seed: made.append(seed) or conclusion_of(*args, seed=seed),
    )
    assert conclusion_rates.run(config) == result
    assert made == [1, 1, 1]
    other = dataclasses.replace(conclusion_rates.SMOKE, shots=10)
    monkeypatch.setattr(conclusion_rates, "SMOKE", other)
    with pytest.raises(ValueError, match=r"0\.json was made with other settings"):
        conclusion_rates.run(config)


def test_the_data_are_what_the_conclusion_is_about():
    sizes = dataclasses.replace(conclusion_rates.SMOKE, seen=30, unseen=50)
    _, data = conclusion_rates.simulate(sizes, 1.0, seen=30, unseen=50, seed=0)
    assert [part.num_users for part in data] == [30, 50, 50]
    for part, count in zip(data, (sizes.pairs, sizes.shots, sizes.tests), strict=True):
        np.testing.assert_array_equal(part.pairs_per_user(), count)
    known = np.concatenate([data.train.prompt, data.shots.prompt])
    assert not np.isin(data.test.prompt, known).any()  # the test is on new prompts
    permuted = conclusion_rates.permuted(data, seed=0)
    for part, other in zip(data, permuted, strict=True):
        np.testing.assert_array_equal(part.pairs_per_user(), other.pairs_per_user())
        np.testing.assert_array_equal(np.sort(part.row), np.sort(other.row))
        assert (
            np.sort(other.row.reshape(part.num_users, -1))
            != np.sort(part.row.reshape(part.num_users, -1))
        ).any()
    # Users who do not differ gain nothing, those who differ more gain more.
    gains = [conclusion_rates.oracle_gain(sizes, spread, seed=0) for spread in (0.0, 0.7, 1.5)]
    assert gains[0] == 0.0
    assert gains[0] < gains[1] < gains[2]
