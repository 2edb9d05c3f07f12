"""The rehearsal: calibrated to the paper's numbers, of the real shapes."""

import dataclasses

import numpy as np

import lore_jax as lore
from experiments import personalllm, prism, rehearsal
from experiments.common.options import fits
from lore_jax.evaluation.results import Where, select


def test_the_calibrated_columns_give_the_papers_numbers_for_bt_and_the_head():
    share, rho = rehearsal.calibrate(prompts=4000, seed=0)
    rng = np.random.default_rng(1)  # others than those it was solved on
    common, own, other = (
        rng.normal(size=(6000, 8, 1)),
        rng.normal(size=(6000, 8, 10)),
        rng.normal(size=(6000, 8)),
    )
    columns = np.sqrt(share) * common + np.sqrt(1 - share) * own
    mean = columns.mean(axis=2)
    head = rho * mean / mean.std() + np.sqrt(1 - rho**2) * other
    for scores, expected in ((mean, 0.8635), (head, 0.7725)):
        right = []
        for user in range(10):  # at alpha .001 a user is one of the columns
            best, worst = columns[..., user].argmax(axis=1), columns[..., user].argmin(axis=1)
            every = np.arange(len(columns))
            right.append(scores[every, best] > scores[every, worst])
        assert abs(np.mean(right) - expected) < 0.015


def test_rehearsed_personalllm_finds_the_true_columns(tmp_path, monkeypatch):
    def fewer_steps(options):
        return {
            name: fit
            if name == "reference head"
            else dataclasses.replace(fit, method=dataclasses.replace(fit.method, steps=200))
            for name, fit in fits(options).items()
        }

    monkeypatch.setattr(personalllm, "fits", fewer_steps)
    config = rehearsal.Config(out=tmp_path, size=0.02, dim=24, alphas=(0.001,))
    results = rehearsal.run_personalllm(config)
    accuracy = {
        row["method"]: row["accuracy"]
        for row in select(results, Where(users="unseen", shots=9, control=None))
    }
    assert accuracy["true basis"] > 0.97
    assert accuracy["LoRe"] > accuracy["BT"] + 0.05
    assert accuracy["BT"] > accuracy["reference head"]
    assert "SYNTHETIC DATA." in (tmp_path / "tables.md").read_text()


def test_rehearsed_prism_has_the_real_shapes(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        prism,
        "run_on",
        lambda prefs, *args, **kw: seen.append((prefs, kw["known"]["true basis"])),
    )
    rehearsal.run_prism(rehearsal.Config(out=tmp_path, size=60 / 1300, dim=16))
    ((prefs, truth),) = seen
    assert prefs.num_users == 60
    assert prefs.num_pairs == 60 * (6 * 3 + 3)  # 27,300 at full size
    assert prefs.num_responses == 60 * 6 * 6
    assert (prefs.prompt // 6 == prefs.user).all()
    assert (prefs.chosen // 6 == prefs.prompt).all()
    assert (prefs.rejected // 6 == prefs.prompt).all()
    assert prefs.embeddings.dtype.name == "bfloat16"
    right = lore.margins(truth, lore.adapt(truth, prefs), prefs).mean > 0
    assert right.mean() > 0.7
