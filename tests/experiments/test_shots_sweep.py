"""The shots sweep gives every method the same draws."""

from experiments import shots_sweep
from experiments.common.options import Options, fits
from lore_jax.evaluation.results import Where, select


def test_shots_sweep_gives_every_method_the_same_draws(cache, tmp_path, monkeypatch):
    all_fits = fits(Options(out=tmp_path, smoke=True))
    monkeypatch.setattr(
        shots_sweep,
        "fits",
        lambda _, group_by: {name: all_fits[name] for name in ("reference head", "LoRe")},
    )
    config = shots_sweep.Config(
        tmp_path / "shots", cache, shots=(0, 4), draws=2, splits=1, smoke=True, group_by="prompt"
    )
    results = shots_sweep.run(config)
    assert {row["split"] for row in results["rows"]} == {0, 1}
    drawn = [select(results, Where(method="LoRe", shots=4, control=None))[draw] for draw in (0, 1)]
    assert drawn[0]["per_user"] != drawn[1]["per_user"]
    without_shots = [select(results, Where(method="LoRe", shots=0))[draw] for draw in (0, 1)]
    assert without_shots[0]["per_user"] == without_shots[1]["per_user"]
    assert "2 draws, the same for every method" in (tmp_path / "shots" / "tables.md").read_text()
    assert shots_sweep.run(config)["rows"] == results["rows"]
