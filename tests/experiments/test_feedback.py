"""The experiment on feedback in --smoke mode."""

from experiments import feedback


def test_feedback(tmp_path):
    result = feedback.run(feedback.Config(out=tmp_path / "run", smoke=True))
    assert set(result) == {"worth", "ties", "fitted", "cost"}
    assert 0.2 < result["ties"]["share of ties"] < 0.4
    for row in result["fitted"].values():
        assert 0.5 < row["right"] <= 1.0
        assert all(kind["log_loss"] > 0 for kind in row["kinds"])
    again = feedback.run(feedback.Config(out=tmp_path / "run", smoke=True))
    assert again == result
