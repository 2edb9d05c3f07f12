"""The presets and the table of methods."""

import dataclasses
import json

import pytest

from lore_jax.fitting.config import (
    LATER_VARIANT,
    METHODS,
    PAPER,
    PAPER_MINIBATCH,
    RIDGE_BRADLEY_TERRY,
    FitConfig,
    chosen_config,
    method_name,
)
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.shared_direction import SharedDirection
from lore_jax.methods.simplex.method import SimplexConfig


def test_presets():
    assert FitConfig() == FitConfig(PopulationConfig(), "new items", None, 4)
    assert FitConfig(SimplexConfig(rank=5)) == PAPER  # whose defaults are the paper's
    assert FitConfig(BradleyTerryConfig()) == RIDGE_BRADLEY_TERRY
    minibatch = PAPER_MINIBATCH.method
    assert minibatch.rank == 5
    assert minibatch.steps == 34 * minibatch.num_minibatches  # epochs
    changed = {
        field.name: getattr(LATER_VARIANT, field.name)
        for field in dataclasses.fields(LATER_VARIANT)
        if getattr(LATER_VARIANT, field.name) != field.default
    }
    assert changed == {
        "steps": 20_000,
        "uniform_logits": True,
        "pooled": True,
        "alternate": True,
        "anchor": 1e4,
        "prune": 1e-2,
    }


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_frozen_hashable_and_known_by_their_names(name):
    method = METHODS[name]()
    assert method_name(method) == name
    assert hash(method) == hash(METHODS[name]())
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.rank = 3


def test_a_method_of_ones_own_is_known_by_its_class():
    @dataclasses.dataclass(frozen=True)
    class Mine(SharedDirection):
        pass

    @dataclasses.dataclass(frozen=True)
    class Derived(SimplexConfig):
        pass

    assert method_name(Mine()) == "Mine"
    assert method_name(Derived()) == "Derived"  # not the one it is made from


@pytest.mark.parametrize(
    "method", [PopulationConfig(rank=3), SimplexConfig(rank=5), BradleyTerryConfig(), LATER_VARIANT]
)
def test_a_configuration_comes_back_from_what_a_run_says_of_it(method):
    config = FitConfig(method, group_by="response", repeats=2)
    described = dataclasses.asdict(config)
    described["method"]["name"] = method_name(method)
    if "likelihood" in described["method"]:
        described["method"]["likelihood"] = "Logistic"
    described = json.loads(json.dumps(described))
    assert chosen_config(described, {}) == config
    fields = [field.name for field in dataclasses.fields(method)]
    name = next(field for field in fields if "ridge" in field or field == "temperature")
    assert getattr(chosen_config(described, {name: 7.0}).method, name) == 7.0


def test_what_is_not_the_librarys_is_refused():
    described = {"method": {"name": "my own"}}
    with pytest.raises(ValueError, match="names my own, which is not the library's"):
        chosen_config(described, {})
    described = {"method": {"name": "gaussian", "likelihood": "Robust"}}
    with pytest.raises(ValueError, match="names Robust"):
        chosen_config(described, {})
