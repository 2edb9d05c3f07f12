"""The gap to the oracle in --smoke mode."""

import json

from experiments import oracle_gap


def test_oracle_gap(tmp_path, capsys, monkeypatch):
    config = oracle_gap.Config(out=tmp_path, smoke=True)
    result = oracle_gap.run(config)
    assert oracle_gap.table(result) in capsys.readouterr().out
    stored = json.loads((tmp_path / "oracle_gap.json").read_text())
    assert list(stored) == ["accuracy", "lost to the oracle", "lost to the paper"]
    assert list(result["accuracy"]) == ["paper", "simplex, 300 steps", "gaussian", "oracle"]
    for name, of_shots in result["accuracy"].items():
        assert list(of_shots) == [0, 5, 10, 20]
        lost = result["lost to the oracle"][name][10].mean
        gap = result["accuracy"]["oracle"][10].mean - of_shots[10].mean
        assert abs(lost - gap) < 1e-6
    assert result["lost to the oracle"]["oracle"][10].high == 0.0
    # The oracle learns about its users; a seed that is there is not made again.
    assert result["accuracy"]["oracle"][20].mean > result["accuracy"]["oracle"][0].mean
    monkeypatch.setattr(oracle_gap, "synthetic", lambda *args: 1 / 0)
    assert oracle_gap.run(config) == result
