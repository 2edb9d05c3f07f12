"""The experiment on users who change, in --smoke mode."""

import json

import numpy as np

from experiments import drift
from experiments.drift import Config, answers_of, detector, synthetic_model


def test_drift(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(drift, "RETENTIONS", (1.0, 0.9))
    monkeypatch.setattr(drift, "HALF_LIVES", (np.inf, 5.0))
    results = drift.run(Config(tmp_path, smoke=True))
    assert results.keys() == {"static-0", "slow-0", "sudden-0"}
    assert (tmp_path / "tables.md").read_text().strip() in capsys.readouterr().out
    assert json.loads((tmp_path / "results.json").read_text())["bound"] > 0
    for found in results.values():
        for way in ("relaxing", "ageing"):
            assert found[way]["oracle"]["log_loss"] > 0


def test_kinds_of_users_differ_when_they_should():
    model = synthetic_model()
    static, sudden = (answers_of(model, kind, 300, 10, seed=3) for kind in ("static", "sudden"))
    same = (static.chosen == sudden.chosen).reshape(300, 10)
    assert same[:, :5].all()
    assert not same[:, 5:].all()


def test_detector_shares():
    evidence = [0.0, 0.0, 2.0, 0.0, *[0.0] * 4, 2.0, 0.0, 0.0, 0.0]
    found = detector(1.0, evidence, 4)
    assert found["ever"] == 2 / 3
    assert found["first_half"] == found["second_half"] == 1 / 3
    assert found["median_delay"] == 0.0
