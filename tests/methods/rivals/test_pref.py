"""What validation chooses of one fit, the population it assumes, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest
import rival_populations
from shared_pairs import shared_pairs

from lore_jax.data.preferences import from_arrays
from lore_jax.fitting.programs import first_state, learned, many_steps
from lore_jax.methods.rivals.answer_matrix import num_shared_pairs
from lore_jax.methods.rivals.pref import PReFConfig


def test_it_predicts_users_whose_pairs_are_shared_pairs():
    pairs = rival_populations.taste_along_axes(responses=24, dim=8, strong=2, users=90)
    assert num_shared_pairs(pairs.train) > 50
    method = PReFConfig(rank=2, beta=1.0, steps=100)
    assert rival_populations.gain(method, pairs) > 3.0


def test_steps_and_beta_are_chosen_of_one_fit():
    method = PReFConfig(rank=2)
    assert len(method.variants()) == 9
    assert method.num_steps([]) == max(variant["steps"] for variant in method.variants())
    predictor = rival_populations.fitted(
        method, rival_populations.Population(shared_pairs(), *[None] * 2)
    )
    assert predictor.model.rank == 2
    assert np.isfinite(predictor.users.weights).all()


def test_populations_of_like_size_share_programs():
    method, found = PReFConfig(rank=2, beta=10.0, steps=5), []
    devices = tuple(jax.local_devices()[:1])
    programs = (
        first_state(PReFConfig(), devices),
        many_steps(PReFConfig(), 5, "jit", devices),
        learned(dataclasses.replace(method, rank=None), devices),
    )
    for users in (18, 19, 20):
        population = rival_populations.Population(shared_pairs(users=users), *[None] * 2)
        rival_populations.fitted(method, population)
        found.append([program._cache_size() for program in programs])
    assert min(found[0]) > 0
    assert found == found[:1] * 3


def test_what_is_refused():
    prefs = from_arrays(np.eye(4, dtype=np.float32), [0, 1, 2], [1, 2, 3], [0, 1, 1])
    assert num_shared_pairs(prefs) == 0
    with pytest.raises(ValueError, match="no pair of responses was judged by two users"):
        PReFConfig().stages(prefs)
    with pytest.raises(ValueError, match="rank is 0: 1 or more"):
        PReFConfig(rank=0)
    with pytest.raises(ValueError, match="beta is -1: a positive number"):
        PReFConfig(beta=-1)
