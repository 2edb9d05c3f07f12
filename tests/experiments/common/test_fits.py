"""The fits that experiments compare."""

import dataclasses

import numpy as np

from experiments.common.fits import (
    REFERENCE_HEAD,
    applicable,
    at_rank,
    paper_objective,
    population_model,
)
from lore_jax.data.preferences import from_arrays


def test_a_fixed_rank_keeps_what_was_chosen():
    choice = {"rank": 9, "ridge_population": 3.0, "ridge_deviation": 10.0, "item_effects": 0.0}
    config = at_rank(population_model(), 3, choice)
    assert config.method.rank == 3
    assert (config.method.ridge_population, config.method.ridge_deviation) == (3.0, 10.0)
    assert config.group_by == "prompt"


def test_the_reference_head_needs_a_head():
    prefs = from_arrays(np.ones((2, 3), np.float32), [0], [1], [0])
    fits = {"reference head": REFERENCE_HEAD, "LoRe": paper_objective(rank=2)}
    assert list(applicable(fits, prefs)) == ["LoRe"]
    with_head = dataclasses.replace(prefs, head=np.ones(3, np.float32))
    assert applicable(fits, with_head) == fits
