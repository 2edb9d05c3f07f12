"""What fits of validation share changes no number, and is made once."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from joint_fit import problem

from lore_jax.fitting import fold_fits as module
from lore_jax.fitting.fold_fits import FoldFits, Kept
from lore_jax.fitting.validation import fold_roles, place_for_sweeps
from lore_jax.methods.gaussian.method import PopulationConfig

METHOD = PopulationConfig(steps=8, learning_rate=0.1, logit_scale=1.0)
SETTING = {"rank": 3, "ridge_population": 2.0, "item_effects": 1.0}
SETTINGS = [
    {**SETTING, "ridge_deviation": ridge, "item_effects_deviation": own, "num_components": count}
    for ridge, own, count in itertools.product((3.0, 1.0), (0.0, 1.0), (0, 2))
]


class ReadsEverything(PopulationConfig):
    read_by_init = read_by_steps = None


def fits_of(method):
    prefs = problem(users=20)
    placed = place_for_sweeps(prefs, method)
    roles = fold_roles(placed.prefs, 2, holdout="new items", group_by="response", seed=0)
    fits = FoldFits(
        placed.prefs,
        placed.data,
        placed.layout,
        placed.devices,
        method=method,
        steps=method.steps,
        roles=roles,
        key=jax.random.key(0),
        kept=Kept(),
    )
    return fits, [fits.setting(hyper) for hyper in method.hypers(SETTINGS, prefs)]


@pytest.fixture
def made(monkeypatch):
    """Counts first states, and runs of steps."""
    counts = {"first_state": 0, "many_steps": 0}

    def counted(name):
        program = getattr(module, name)

        def make(*args, **kwargs):
            counts[name] += 1
            return program(*args, **kwargs)

        return make

    for name in counts:
        monkeypatch.setattr(module, name, counted(name))
    return counts


def test_settings_of_one_population_begin_once_and_those_of_one_end_step_once(made):
    fits, settings = fits_of(METHOD)
    shared = {}
    for setting, fold in itertools.product(range(len(settings)), range(2)):
        assert fits.measured(settings[setting], fold) is None
        shared[setting, fold] = fits.measure(settings[setting], fold)
        np.testing.assert_array_equal(fits.measured(settings[setting], fold), shared[setting, fold])
    assert made["first_state"] == 2  # one a fold
    # The ends of the best are kept: of pairs of settings that differ in mixtures some are stepped
    # once, and none more than twice.
    assert made["many_steps"] < len(shared)

    made.update(first_state=0, many_steps=0)
    alone, settings = fits_of(ReadsEverything(**vars(METHOD)))
    for (setting, fold), found in shared.items():
        np.testing.assert_allclose(alone.measure(settings[setting], fold), found, atol=1e-6)
    assert made == {"first_state": len(shared), "many_steps": len(shared)}


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_init_and_steps_read_no_more_than_they_say(hidden):
    method = dataclasses.replace(METHOD, hidden=hidden)
    fits, settings = fits_of(method)
    data, key = fits._data[0], fits._key
    begin = module.first_state(method, fits._devices)
    step = module.many_steps(method, 2, "jit", fits._devices, donate=False)
    for setting in settings[::3]:
        whole = begin((), data, (setting.whole, key))
        same = begin((), data, (setting.of_init, key))
        jax.tree.map(np.testing.assert_array_equal, whole, same)
        ends = (step(whole, data, hyper)[0] for hyper in (setting.whole, setting.of_steps))
        jax.tree.map(np.testing.assert_array_equal, *ends)
