"""Every program of a fit compiles for GPU and TPU: down to the compiler's input, on any machine."""

import dataclasses

import jax
import pytest
from joint_fit import GIVEN, problem

from lore_jax.fitting.fold_fits import _measured
from lore_jax.fitting.programs import first_state, many_steps
from lore_jax.fitting.validation import fold_roles, place_for_sweeps
from lore_jax.methods.base import FoldWeights
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.simplex.method import SimplexConfig
from lore_jax.parallel.devices import split

METHODS = [
    dataclasses.replace(GIVEN, num_components=2),
    BradleyTerryConfig(ridge=1.0),
    SimplexConfig(rank=3),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_fold_is_fitted_and_predicted_on_gpu_and_tpu(method):
    prefs = problem()
    placed = place_for_sweeps(prefs, method)
    roles = fold_roles(prefs, 4, holdout="new items", group_by="response", seed=0)
    spread = {name: placed.layout.spread_pairs(values[0]) for name, values in roles.items()}
    buckets = range(len(placed.layout.ids))
    fold = tuple(
        FoldWeights(**{name: split(parts[b], placed.devices) for name, parts in spread.items()})
        for b in buckets
    )
    stages = method.stages(prefs)
    (hyper,) = method.hypers(stages[-1].choices({**stages[0].candidates[0]}), prefs)
    key, devices = jax.random.key_data(jax.random.key(0)), placed.devices
    platforms = ["cuda", "tpu"]
    begin = first_state(method, devices)
    state = begin((), placed.data, (hyper, key))
    programs = {
        begin: ((), placed.data, (hyper, key)),
        many_steps(method, 2, "jit", devices, donate=False): (state, placed.data, hyper),
        _measured(method, devices): ((state, fold), placed.data, hyper),
    }
    for program, given in programs.items():
        exported = jax.export.export(program, platforms=platforms)(*given)
        assert exported.platforms == ("cuda", "tpu")
