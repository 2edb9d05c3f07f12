"""The best of n in --smoke mode."""

import json

import pytest

from experiments import best_of_n


def test_best_of_n(tmp_path, capsys):
    result = best_of_n.run(best_of_n.Config(out=tmp_path / "run", smoke=True))
    assert best_of_n.report(result) in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "best_of_n.json").read_text()).keys() == result.keys()
    policies = result["synthetic"]["10 shots, 8"]
    for name, own in policies.items():
        # Results keep six digits.
        assert own["regret"] == pytest.approx(policies["oracle"]["gain"] - own["gain"], abs=1e-4)
        assert own["regret"] >= 0.0
        assert 0.0 <= own["wins over the population"] <= 1.0, name
    assert policies["true population"]["gain"] == 0.0
    assert policies["Bayes"]["gain"] > 0.0  # 18 users: who knows the truth gains all the same
    for shares in result["polis"].values():
        assert all(
            0.0 <= own["mean"] <= 1.0 for name, own in shares.items() if " minus" not in name
        )
