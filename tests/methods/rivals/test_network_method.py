"""What is open is a grid, and when training stops a variant; too few users are refused."""

import numpy as np
import pytest
from joint_fit import problem
from one_direction import DECAY, RATE, STEPS, OneDirection

import lore_jax as lore
from lore_jax.fitting.fit import fit_predictor


def test_stopping_is_a_variant_and_settings_are_a_grid():
    method = OneDirection()
    (stage,) = method.stages(problem())
    assert stage.candidates == (
        {"learning_rate": RATE, "weight_decay": DECAY},
        {"learning_rate": 2 * RATE, "weight_decay": DECAY},
    )
    assert method.variants() == [{"stop_after": mark} for mark in (2, 4, 8)]
    assert method.num_steps(stage.candidates) == STEPS
    assert method.num_steps([{"stop_after": 2.0}, {"stop_after": 4.0}]) == 4
    config = lore.FitConfig(method, group_by="response", folds=2)
    predictor, history = fit_predictor(problem(), config, key=0)
    assert history.choice["stop_after"] in (2, 4, 8)
    assert len(history.loss) == history.choice["stop_after"]
    assert len(history.sweeps[0].settings) == 6
    assert predictor.hyper["learning_rate"] == np.float32(history.choice["learning_rate"])


def test_too_few_users_are_refused():
    prefs = problem()
    able = int((prefs.weight_per_user() > 0).sum())
    message = f"OneDirection learns from users, and {able} have pairs: 20 or more are expected"
    with pytest.raises(ValueError, match=message):
        OneDirection(least_users=20).stages(prefs)
