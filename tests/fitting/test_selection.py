"""What is chosen: what is given stays, and the rest is the best on validation, stage by stage."""

import dataclasses

import jax
import numpy as np
import pytest
from joint_fit import problem

from lore_jax.fitting import selection
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.selection import choose
from lore_jax.fitting.validation import SweepTable
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.simplex.method import SimplexConfig

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "method",
    [
        PopulationConfig(
            rank=3,
            ridge_population=1.0,
            ridge_deviation=1.0,
            item_effects=0.5,
            item_effects_deviation=0.5,
            num_components=2,
            logit_scale=1.2,
        ),
        SimplexConfig(rank=3),
        BradleyTerryConfig(ridge=2.0),
    ],
    ids=["population", "simplex", "Bradley-Terry"],
)
def test_what_is_given_is_kept_and_costs_nothing(method, monkeypatch):
    monkeypatch.setattr(selection, "sweep", None)  # nothing is to be fitted
    monkeypatch.setattr(selection, "fold_roles", None)
    prefs, config = problem(users=30), FitConfig(method, folds=1000)
    choice, tables = choose(prefs, config, key=KEY)
    assert choice == {name: getattr(method, name) for name in choice}
    assert choice
    assert not tables
    assert dataclasses.replace(method, **choice) == method


def test_the_best_setting_on_validation_is_chosen():
    prefs = problem(users=30, dim=9)
    method = PopulationConfig(ridge_population=1.0, ridge_deviation=10.0, num_components=0)
    config = FitConfig(method, folds=2)
    choice, tables = choose(prefs, config, key=KEY)
    population, deviations, rank = tables
    assert {setting["rank"] for setting in population.settings} == {1}
    assert {setting["rank"] for setting in deviations.settings} == {9}
    assert {setting["rank"] for setting in rank.settings} == {1, 3, 9}
    assert choice == rank.settings[int(rank.loss.mean(axis=1).argmin())]
    kept = population.settings[population.best]["item_effects"]
    assert {setting["item_effects"] for setting in deviations.settings} == {kept}


def test_validation_mirrors_what_the_configuration_says(monkeypatch):
    seen = []

    def roles(prefs, count, **how):
        seen.append((count, how["holdout"], how["group_by"], how["seed"]))

    def table(placed, stage, choices, roles, **how):
        loss = np.zeros((len(choices), 1))
        return SweepTable(stage.name, choices, loss, loss, best=1)

    monkeypatch.setattr(selection, "fold_roles", roles)
    monkeypatch.setattr(selection, "sweep", table)
    for key, config in (
        (KEY, FitConfig(SimplexConfig(), holdout="known items", group_by="prompt", folds=3)),
        (KEY, FitConfig(SimplexConfig())),
        (jax.random.key(1), FitConfig(SimplexConfig(), folds=1000)),
    ):
        choice, (swept,) = choose(problem(), config, key=key)
        assert choice == swept.settings[1] == {"rank": 2}
    assert [row[:2] for row in seen] == [(3, "known items"), (4, "new items"), (1000, "new items")]
    assert [row[2] for row in seen] == ["prompt", None, None]  # None: the folds find their groups
    assert seen[0][3] == seen[1][3] != seen[2][3]  # folds go by the key
