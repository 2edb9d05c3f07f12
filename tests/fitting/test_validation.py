"""A sweep against a Python loop of fits, each with its users adapted and their pairs predicted; and
what is chosen.
"""

import dataclasses
import functools

import jax
import numpy as np
from joint_fit import problem

import lore_jax as lore
from lore_jax.fitting.config import FitConfig, make_basis
from lore_jax.fitting.selection import choose, gaussian_hyper, simplex_hyper
from lore_jax.fitting.validation import GaussianPipeline, SimplexPipeline, fold_roles, sweep
from lore_jax.methods.gaussian.laplace_em import PopulationConfig
from lore_jax.model.model import rms_row_norm

STEPS = PopulationConfig(steps=40, learning_rate=0.1)
GIVEN = FitConfig(
    rank=3,
    ridge_population=1.0,
    ridge_deviation=1.0,
    item_effects=0.5,
    num_components=2,
    logit_scale=1.2,
    population=STEPS,
)
SETTING = {"rank": 3, "ridge_population": 2.0, "ridge_deviation": 3.0, "item_effects": 1.0}


def by_hand(prefs, config, roles, key):
    """Log loss and accuracy on each fold's test pairs, macro over the users who have some."""
    losses, accuracies = [], []
    for fit, shots, test in zip(roles["fit"], roles["shots"], roles["test"], strict=True):
        model, _, _ = lore.fit(dataclasses.replace(prefs, pair_weight=fit), config, key=key)
        users = lore.adapt(model, dataclasses.replace(prefs, pair_weight=shots))
        right = lore.predict_proba(model, users, prefs).astype(np.float64)
        tested = [(test > 0) & (prefs.user == user) for user in range(prefs.num_users)]
        tested = [mine for mine in tested if mine.any()]
        losses.append(np.mean([-np.log(right[mine]).mean() for mine in tested]))
        accuracies.append(np.mean([(right[mine] > 0.5).mean() for mine in tested]))
    return losses, accuracies


def test_gaussian_against_a_loop():
    prefs, key = problem(users=30), jax.random.key(0)
    roles = fold_roles(prefs, 2, holdout="new items", group_by="response", seed=0)
    pipeline = GaussianPipeline(
        make_basis(GIVEN, 3), STEPS, num_components=(0, 4), logit_scales=(1.0, 1.5)
    )
    _, of_state = jax.random.split(key)  # as `fit` draws initialisations
    run = functools.partial(
        sweep,
        prefs,
        rms_row_norm(prefs.embeddings),
        pipeline,
        [SETTING],
        [gaussian_hyper(SETTING, 3)],
        roles,
        key=of_state,
    )
    found = run()
    variants = [
        {"num_components": 0, "logit_scale": 1.0},
        {"num_components": 0, "logit_scale": 1.5},
        {"num_components": 4, "logit_scale": 1.0},
    ]
    assert found.settings == [{**SETTING, **variant} for variant in variants]
    for setting, losses, accuracies in zip(found.settings, found.loss, found.accuracy, strict=True):
        loss, accuracy = by_hand(prefs, dataclasses.replace(GIVEN, **setting), roles, key)
        np.testing.assert_allclose(losses, loss, atol=0.005)
        np.testing.assert_allclose(accuracies, accuracy, atol=0.03)
    assert found.best == found.loss.mean(axis=1).argmin()
    np.testing.assert_allclose(run(devices=jax.devices()[:4]).loss, found.loss, atol=1e-3)


def test_simplex_against_a_loop():
    prefs, key = problem(users=30), jax.random.key(0)
    roles = fold_roles(prefs, 2, holdout="known items", group_by="response", seed=0)
    settings = lore.SimplexConfig(steps=30)
    config = FitConfig(family="simplex", rank=3, simplex=settings)
    hypers = [simplex_hyper({"rank": rank}, 3, None) for rank in (2, 3)]
    pipeline = SimplexPipeline(make_basis(config, 3), settings, prefs.num_users)
    _, of_state = jax.random.split(key)
    found = sweep(
        prefs,
        settings.input_scale,
        pipeline,
        [{"rank": 2}, {"rank": 3}],
        hypers,
        roles,
        key=of_state,
    )
    loss, accuracy = by_hand(prefs, config, roles, key)
    np.testing.assert_allclose(loss, found.loss[1], atol=0.01)
    np.testing.assert_allclose(
        accuracy, found.accuracy[1], atol=0.05
    )  # one user's only pair may tie
    assert np.isfinite(found.loss[0]).all()


def test_what_is_given_is_kept():
    prefs = problem(users=30)
    choice, tables = choose(prefs, GIVEN, key=jax.random.key(0))
    assert choice == {name: getattr(GIVEN, name) for name in choice}
    assert not tables


def test_the_best_setting_on_validation_is_chosen():
    prefs = problem(users=30, dim=9)
    config = FitConfig(ridge_population=1.0, ridge_deviation=10.0, num_components=0, folds=2)
    choice, tables = choose(prefs, config, key=jax.random.key(0))
    terms, last = tables
    assert {setting["rank"] for setting in terms.settings} == {1}
    assert {setting["rank"] for setting in last.settings} == {1, 9}
    assert choice == last.settings[int(last.loss.mean(axis=1).argmin())]
    kept = terms.settings[terms.best]["item_effects"]
    assert {setting["item_effects"] for setting in last.settings} == {kept}
