"""Rates of the conclusion in --smoke mode, and the splits they are counted on."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import conclusion_rates
from experiments.common import populations
from experiments.common.populations import Sizes
from experiments.conclusion_rates import CASES, Case, split_of, thinned


def test_conclusion_rates(tmp_path, capsys, monkeypatch):
    config = conclusion_rates.Config(out=tmp_path, smoke=True)
    result = conclusion_rates.run(config)
    assert conclusion_rates.table(result) in capsys.readouterr().out
    assert json.loads((tmp_path / "conclusion_rates.json").read_text()) == result
    assert list(result["cases"]) == ["topics", "2 splits"]
    assert [case["helps"] for case in result["cases"].values()] == [False, True]
    for case in result["cases"].values():
        assert case["populations"] == 2
        assert 0 <= case["yes"] <= 2
        assert 0 <= case["held"] <= 2
    # A population that is there is not made again, and one of other settings is refused.
    (tmp_path / "parts" / "2-splits-1.json").unlink()
    made = []
    evaluate_part = conclusion_rates.evaluate_part
    monkeypatch.setattr(
        conclusion_rates,
        "evaluate_part",
        lambda *args, seed: made.append(seed) or evaluate_part(*args, seed=seed),
    )
    only = dataclasses.replace(config, only=("2 splits",))
    assert conclusion_rates.run(only)["cases"]["2 splits"] == result["cases"]["2 splits"]
    assert made == [1]
    with pytest.raises(ValueError, match="only names 'nothing': one of topics, 2 splits is"):
        conclusion_rates.run(dataclasses.replace(config, only=("nothing",)))
    monkeypatch.setattr(conclusion_rates, "population_model", lambda **_: "another")
    with pytest.raises(ValueError, match=r"topics-0\.json was made with other settings"):
        conclusion_rates.run(config)


def test_only_cases_in_which_users_differ_are_to_be_said_yes_to():
    yes = {name for name, case in CASES.items() if case.helps}
    assert yes == {name for name in CASES if "point" in name}
    assert len(yes) == 10


@pytest.mark.parametrize("case", [Case(), Case("mixes"), Case("differ", 3.0, shuffled=True)])
def test_a_split_keeps_users_and_prompts_apart(case):
    sizes = Sizes(seen=15, prompts=60, pairs=6, shots=6, tests=5)
    rng = np.random.default_rng(0)
    tastes = populations.draw_tastes(sizes, case.kind, 0.5, rng)
    items = populations.draw_items(sizes, case.kind, sizes.prompts, rng)
    weights, share = populations.draw_users(case.kind, tastes, 40, rng)
    prefs = populations.ask(items, weights, share, np.arange(60), 30, rng).prefs
    data, known, unseen = split_of(sizes, case, prefs, items.topic, seed=3)
    assert [part.num_users for part in data] == [15, 25, 25]
    assert np.isin(data.train.prompt, known).all()
    assert np.isin(data.shots.prompt, known).all()
    assert not np.isin(data.test.prompt, known).any()
    assert np.bincount(items.topic[known]).tolist() == [15, 15]
    names = np.asarray(data.shots.user_ids).astype(int)
    assert set(names) == set(unseen.tolist())
    assert not set(names) & set(np.asarray(data.train.user_ids).astype(int).tolist())
    if case.kind == "mixes":
        assert data.shots.pairs_per_user().tolist() == [3] * 12 + [6] * 13
    same = names[data.test.user] == prefs.user[data.test.row]
    assert same.all() != case.shuffled


def test_half_of_the_users_give_half_of_their_pairs():
    sizes = Sizes()
    rng = np.random.default_rng(0)
    tastes = populations.draw_tastes(sizes, "alike", 0.0, rng)
    items = populations.draw_items(sizes, "alike", 40, rng)
    users = populations.draw_users("alike", tastes, 6, rng)
    prefs = populations.ask(items, *users, np.arange(40), 8, rng).prefs
    assert thinned(prefs, seed=0).pairs_per_user().tolist() == [4, 4, 4, 8, 8, 8]
