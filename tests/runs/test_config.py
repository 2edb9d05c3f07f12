"""Configurations of runs: their defaults, what decides a result, and what is refused."""

import dataclasses

import pytest
from small_run import QUICK

from lore_jax.fitting.config import FitConfig
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.reference import ReferenceConfig
from lore_jax.runs.config import DECISIVE, RunConfig, SplitConfig, decisive, from_decisive


def test_defaults_need_no_arguments():
    assert RunConfig() == RunConfig(split=SplitConfig(), fit=FitConfig())
    assert RunConfig().fit.method == PopulationConfig()


def test_what_decides_is_named_and_the_rest_is_how_to_get_there():
    names = {field.name for field in dataclasses.fields(RunConfig)}
    assert set(DECISIVE) <= names
    assert names - set(DECISIVE) == {"checkpoint_seconds", "devices", "mapping"}


def test_it_is_one_value():
    again = dataclasses.replace(QUICK, fit=FitConfig(dataclasses.replace(QUICK.fit.method)))
    assert (again, hash(again)) == (QUICK, hash(QUICK))
    other = dataclasses.replace(QUICK.fit.method, steps=26)
    assert dataclasses.replace(QUICK, fit=FitConfig(other)) != QUICK


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk": 0}, "chunk is 0: 1 or more is expected"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds is -1.0: 0 or more is expected"),
        ({"devices": 0}, "devices is 0: 1 or more is expected"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as refusal:
        RunConfig(**changes)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "fit",
    [
        FitConfig(PopulationConfig(rank=3, ridge_deviation=2.5, hidden=(8, 4)), repeats=2),
        QUICK.fit,
        FitConfig(BradleyTerryConfig(ridge=3.0), holdout="known items", group_by="response"),
        FitConfig(ReferenceConfig()),
    ],
    ids=lambda fit: type(fit.method).__name__,
)
def test_what_decides_comes_back_from_json(fit):
    split = SplitConfig(unseen_users=0.25, items=("new items", "known items"), fold=(1, 5))
    config = RunConfig(split=split, fit=fit, seed=7, chunk=5)
    assert from_decisive(decisive(config), "run.json") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "x"}, "run.json: seed is 'x': a whole number is expected"),
        ({"seed": True}, "run.json: seed is true: a whole number is expected"),
        ({"sed": 1}, "run.json has 'sed', which RunConfig does not know"),
        ({"split": None}, "run.json: split has None: the fields of SplitConfig are expected"),
        ({"split": {"fold": [1]}}, "run.json: split: fold is a list of 1"),
        ({"fit": {"method": {"name": "mine"}}}, "has the method 'mine': one of gaussian, simplex"),
        ({"fit": {"method": "mine"}}, "has the method 'mine': one of gaussian, simplex"),
        (
            {"fit": {"method": {"name": "bradley-terry", "likelihood": "Mine"}}},
            "has likelihood 'Mine', which a file cannot bring back",
        ),
        ({"chunk": 0}, "chunk is 0: 1 or more is expected"),
    ],
)
def test_what_is_no_configuration_is_refused_in_one_line(change, message):
    with pytest.raises(ValueError, match=message) as refusal:
        from_decisive({**decisive(RunConfig()), **change}, "run.json")
    assert "\n" not in str(refusal.value)
