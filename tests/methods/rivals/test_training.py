"""A linear network by hand: steps of AdamW against NumPy, marks, shards."""

import dataclasses

import jax
import numpy as np
import pytest
from joint_fit import differences, problem
from one_direction import DECAY, GIVEN, RATE, STEPS

import lore_jax as lore
from lore_jax.fitting.fit import fit_predictor, start
from lore_jax.parallel.host_state import onto_devices, without_devices


def by_numpy(prefs, scale):
    """AdamW on (v, b) and Adam on d, and the running average of (v, b); a row a step."""
    x, c, user = differences(prefs) / scale, prefs.pair_weight.astype(float), prefs.user
    theta = np.append(np.full(prefs.dim, 0.1), 0.0)
    values = np.concatenate([theta, np.zeros(prefs.num_users)])
    average, first, second, rows, losses = theta, 0.0, 0.0, [], []
    for step in range(1, STEPS + 1):
        z = x @ values[: prefs.dim] + values[prefs.dim] + values[prefs.dim + 1 + user]
        pull = -c / (1 + np.exp(z)) / c.sum()
        losses.append(np.sum(c * np.logaddexp(0, -z)) / c.sum())
        of_users = np.bincount(user, pull, prefs.num_users)
        gradient = np.concatenate([x.T @ pull, [pull.sum()], of_users])
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        adam = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        decayed = np.where(np.arange(len(values)) < prefs.dim, DECAY * values, 0.0)
        rates = np.where(np.arange(len(values)) <= prefs.dim, RATE, 0.02)
        warmth = min(1.0, step / max(1.0, 0.1 * STEPS))
        values = values - rates * warmth * (adam + decayed)
        old = min(0.98, step / (step + 9))
        average = old * average + (1 - old) * values[: prefs.dim + 1]
        rows.append(average)
    return np.array(rows), values[prefs.dim + 1 :], np.array(losses)


@pytest.mark.parametrize("devices", [1, 8])
def test_steps_equal_numpy(devices):
    prefs = problem()
    running, state = start(prefs, lore.FitConfig(GIVEN), key=0, devices=jax.devices()[:devices])
    state, info = running.advance(state, 0, STEPS)
    averages, vectors, losses = by_numpy(prefs, GIVEN.input_scale(prefs))
    host = without_devices(state, running.layout)
    np.testing.assert_allclose(info.loss, losses, rtol=1e-5)
    got = np.append(host.average["kernel"][:, 0], host.average["bias"])
    np.testing.assert_allclose(got, averages[-1], atol=1e-5)
    for mark, kept in zip((2, 4, 8), host.kept["kernel"], strict=True):
        np.testing.assert_allclose(kept[:, 0], averages[mark - 1][:-1], atol=1e-5)
    # Adam divides by gradients that are as good as 0 where a user's pairs weigh nothing.
    with_pairs = prefs.weight_per_user() > 0
    np.testing.assert_allclose(host.vectors[with_pairs, 0], vectors[with_pairs], atol=1e-4)
    back = onto_devices(host, state, running.layout)
    for old, new in zip(jax.tree.leaves(state.average), jax.tree.leaves(back.average), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_fit_that_stops_early_is_the_longer_one_at_that_mark():
    prefs = problem()
    early = dataclasses.replace(GIVEN, stop_after=4)
    predictor, _ = fit_predictor(prefs, lore.FitConfig(early), key=0)
    averages, *_ = by_numpy(prefs, GIVEN.input_scale(prefs))
    np.testing.assert_allclose(predictor.params["kernel"][:, 0], averages[3][:-1], atol=1e-5)


def test_a_training_that_diverges_is_seen():
    prefs = problem()
    away = dataclasses.replace(GIVEN, learning_rate=1e38)
    predictor, _ = fit_predictor(prefs, lore.FitConfig(away), key=0)
    assert not np.isfinite(predictor.adapted(prefs, prefs).log_probability).all()
