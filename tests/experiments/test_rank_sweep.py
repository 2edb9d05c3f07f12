"""The rank sweep: all ranks in one program, roles of pairs without overlap."""

import json

import numpy as np

from experiments import rank_sweep
from lore_jax.storage.cache.reader import load_cache


def test_rank_sweep_runs_all_ranks_in_one_program(cache, tmp_path, monkeypatch):
    ridges = {"rank": 9, "ridge_population": 10.0, "ridge_deviation": 3.0}
    ridges |= {"item_effects": 0.0, "item_effects_deviation": 0.0}
    monkeypatch.setattr(rank_sweep, "choose", lambda *args, **kw: (ridges, ()))
    config = rank_sweep.Config(
        tmp_path / "ranks", cache, ranks=(1, 2, 4), splits=2, shots=4, steps=10
    )
    accuracy = rank_sweep.run(config)
    assert {name: values.shape for name, values in accuracy.items()} == {
        "LoRe, the paper's objective": (3, 2, 2),
        "gaussian": (3, 2, 2),
    }
    assert all(np.isfinite(values).all() for values in accuracy.values())
    stored = json.loads((tmp_path / "ranks" / "rank_sweep.json").read_text())
    np.testing.assert_allclose(stored["accuracy"]["gaussian"], accuracy["gaussian"], atol=1e-5)
    prefs = load_cache(config.cache)
    work = rank_sweep.roles(prefs, config)
    for fit, shots, test in zip(work["fit"] > 0, work["shots"] > 0, work["test"] > 0, strict=True):
        assert not (shots & test).any()
        assert not (fit & ~shots).any()
        assert not set(prefs.prompt[fit | shots]) & set(prefs.prompt[test])
        unseen = ~np.isin(prefs.user, prefs.user[fit])
        assert np.bincount(prefs.user[shots & unseen]).max() <= 4
        assert unseen[test].all() or not unseen[test].any()
