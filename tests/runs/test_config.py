"""Configurations of runs: their defaults, what decides a result, and what is refused."""

import dataclasses

import pytest
from small_run import QUICK

from lore_jax.fitting.config import FitConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.runs.config import DECISIVE, RunConfig, SplitConfig


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
