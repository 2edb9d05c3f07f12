"""The reference head: its margins for everybody, on embeddings as they are; nothing chosen."""

import dataclasses

import jax
import numpy as np
import pytest
from joint_fit import differences, problem

import lore_jax as lore
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.selection import choose
from lore_jax.methods.reference import ReferenceConfig

CONFIG = FitConfig(ReferenceConfig())


def test_margins_are_the_heads_and_no_step_is_taken():
    prefs = problem(scale=3.0)
    model, users, history = lore.fit(prefs, CONFIG, key=jax.random.key(0))
    np.testing.assert_array_equal(model.params["V"][:, 0], prefs.head)
    assert float(model.input_scale) == 1.0
    assert (history.choice, history.sweeps) == ({}, ())
    assert history.loss.shape == history.grad_norm.shape == (0,)
    margins = lore.margins(model, users, prefs)
    np.testing.assert_allclose(margins.mean, differences(prefs) @ prefs.head, rtol=1e-4, atol=1e-4)
    assert not margins.variance.any()
    same = lore.margins(lore.reference_head(prefs.head), users, prefs)
    np.testing.assert_array_equal(margins.mean, same.mean)


def test_nothing_is_chosen():
    assert choose(problem(), CONFIG, key=jax.random.key(0)) == ({}, ())
    assert ReferenceConfig().stages(problem()) == []


def test_preferences_without_a_head_are_refused():
    prefs = dataclasses.replace(problem(), head=None)
    with pytest.raises(ValueError, match="the reference head is asked for, but the preferences"):
        lore.fit(prefs, CONFIG, key=jax.random.key(0))
