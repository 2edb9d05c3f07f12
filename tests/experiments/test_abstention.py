"""Abstention in --smoke mode."""

import pytest

from experiments import abstention


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
