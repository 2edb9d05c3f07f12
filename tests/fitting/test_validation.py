"""A sweep against a Python loop of fits, each with its users adapted and their pairs predicted."""

import dataclasses

import jax
import numpy as np
import pytest
from compared import Diverging
from joint_fit import problem

import lore_jax as lore
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.validation import DivergedError, fold_roles, place_for_sweeps, sweep
from lore_jax.methods.base import Stage
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.simplex.method import SimplexConfig

SETTING = {
    "rank": 3,
    "ridge_population": 2.0,
    "ridge_deviation": 3.0,
    "item_effects": 1.0,
    "item_effects_deviation": 1.0,
}


def by_hand(prefs, method, roles, key):
    """Log loss and accuracy on each fold's test pairs, macro over the users who have some."""
    losses, accuracies = [], []
    for fit, shots, test in zip(roles["fit"], roles["shots"], roles["test"], strict=True):
        part = dataclasses.replace(prefs, pair_weight=fit)
        model, _, _ = lore.fit(part, FitConfig(method), key=key)
        users = lore.adapt(model, dataclasses.replace(prefs, pair_weight=shots))
        right = lore.predict_proba(model, users, prefs).astype(np.float64)
        tested = [(test > 0) & (prefs.user == user) for user in range(prefs.num_users)]
        tested = [pairs for pairs in tested if pairs.any()]
        losses.append(np.mean([-np.log(right[pairs]).mean() for pairs in tested]))
        accuracies.append(np.mean([(right[pairs] > 0.5).mean() for pairs in tested]))
    return losses, accuracies


def test_gaussian_against_a_loop():
    prefs, key = problem(users=30), jax.random.key(0)
    roles = fold_roles(prefs, 2, holdout="new items", group_by="response", seed=0)
    method = PopulationConfig(steps=40, learning_rate=0.1)
    _, of_state = jax.random.split(key)  # as `fit` draws initialisations

    def run(devices=None):
        placed = place_for_sweeps(prefs, method, devices)
        stage = Stage("deviations", method, (SETTING,))
        return sweep(placed, stage, [SETTING], roles, key=of_state)

    table = run()
    assert table.name == "deviations"
    assert table.settings == [{**SETTING, **variant} for variant in method.variants()]
    assert len(table.settings) == 8
    by_variant = {
        (setting["num_components"], setting["logit_scale"]): row
        for row, setting in enumerate(table.settings)
    }
    for variant in ((0, 1.0), (0, 1.5), (4, 1.0)):
        row = by_variant[variant]
        given = dataclasses.replace(method, **table.settings[row])
        loss, accuracy = by_hand(prefs, given, roles, key)
        np.testing.assert_allclose(table.loss[row], loss, atol=0.005)
        np.testing.assert_allclose(table.accuracy[row], accuracy, atol=0.03)
    assert table.best == table.loss.mean(axis=1).argmin()
    np.testing.assert_allclose(run(devices=jax.devices()[:4]).loss, table.loss, atol=1e-3)


def test_simplex_against_a_loop():
    prefs, key = problem(users=30), jax.random.key(0)
    roles = fold_roles(prefs, 2, holdout="known items", group_by="response", seed=0)
    method = SimplexConfig(steps=30)
    choices = [{"rank": 2}, {"rank": 3}]
    stage = Stage("rank", method, tuple(choices))
    _, of_state = jax.random.split(key)
    table = sweep(place_for_sweeps(prefs, method), stage, choices, roles, key=of_state)
    assert table.settings == choices
    loss, accuracy = by_hand(prefs, dataclasses.replace(method, rank=3), roles, key)
    np.testing.assert_allclose(loss, table.loss[1], atol=0.01)
    # One user's only pair may tie.
    np.testing.assert_allclose(accuracy, table.accuracy[1], atol=0.05)
    assert np.isfinite(table.loss[0]).all()


def bradley_terry_sweep(ridges):
    prefs = problem()
    roles = fold_roles(prefs, 3, holdout="new items", group_by="response", seed=1)
    choices = [{"ridge": ridge} for ridge in ridges]
    method = BradleyTerryConfig()
    stage, placed = Stage("ridge", method, tuple(choices)), place_for_sweeps(prefs, method)
    return sweep(placed, stage, choices, roles, key=jax.random.key(0))


def test_of_equal_settings_the_first_is_best():
    table = bradley_terry_sweep([3.0, 3.0, 1e6])
    np.testing.assert_allclose(table.loss[0], table.loss[1], atol=1e-7)
    expected = 0 if table.loss[0].mean() < table.loss[2].mean() else 2
    assert table.best == expected


def test_folds_that_differ_in_what_they_test_are_not_taken_for_one():
    prefs, method = problem(), BradleyTerryConfig()
    roles = fold_roles(prefs, 3, holdout="new items", group_by="response", seed=1)
    placed, choices = place_for_sweeps(prefs, method), [{"ridge": 3.0}]
    stage = Stage("ridge", method, tuple(choices))
    table = sweep(placed, stage, choices, roles, key=jax.random.key(0))
    other = {**roles, "test": roles["test"] * (np.arange(prefs.num_pairs) % 2)}
    again = sweep(placed, stage, choices, roles, key=jax.random.key(0))
    np.testing.assert_array_equal(again.loss, table.loss)
    assert len(placed.kept.measured) == 3
    differing = sweep(placed, stage, choices, other, key=jax.random.key(0))
    assert len(placed.kept.measured) == 6
    assert np.all(differing.loss != table.loss)


def test_a_fold_fits_and_adapts_on_what_it_does_not_predict():
    prefs = problem()
    roles = fold_roles(prefs, 4, holdout="new items", group_by="response", seed=0)
    test = roles["test"]
    assert set(np.unique(test)) == {0.0, 1.0}
    assert test.any(axis=1).all()
    for name in ("fit", "shots"):
        assert not np.any(roles[name] * test)
        weights = np.where(roles[name] > 0, prefs.pair_weight, 0.0)
        np.testing.assert_array_equal(roles[name], weights)
    # New items: no response of a test pair is known from the fit.
    for fit, held_out in zip(roles["fit"], test, strict=True):
        train, tested = (
            set(prefs.chosen[pairs]) | set(prefs.rejected[pairs])
            for pairs in (fit > 0, held_out > 0)
        )
        assert not train & tested


def test_a_stage_of_which_every_setting_diverges_is_refused():
    prefs, key = problem(users=30), jax.random.key(0)
    roles = fold_roles(prefs, 2, holdout="new items", group_by="response", seed=0)
    stage = Stage("ridge", Diverging(), ({"ridge": 3.0}, {"ridge": 1.0}), open_ended=("ridge",))
    placed = place_for_sweeps(prefs, Diverging())
    with pytest.raises(DivergedError, match="no setting of ridge has a finite loss on all folds"):
        sweep(placed, stage, stage.choices({}), roles, key=key)
