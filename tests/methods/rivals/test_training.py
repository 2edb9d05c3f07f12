"""A linear network by hand: steps of AdamW against NumPy, marks, shards, what is refused."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import differences, problem

import lore_jax as lore
from lore_jax.fitting.fit import fit_predictor, start
from lore_jax.methods.rivals.training import NetworkConfig, Objective
from lore_jax.parallel.host_state import onto_devices, without_devices
from lore_jax.solvers.likelihood import LOGISTIC

RATE, DECAY, STEPS = 0.01, 0.5, 8


@dataclasses.dataclass(frozen=True)
class OneDirection(NetworkConfig):
    """z = v . (e_chosen - e_rejected) + d_u, everybody and all pairs in every step."""

    GRID: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "learning_rate": (RATE, 2 * RATE),
        "weight_decay": (DECAY,),
    }
    VECTOR_RATE: ClassVar[float] = 0.02

    steps: int = STEPS
    pairs_a_step: int = 100

    @property
    def vector_size(self):
        return 1

    def init_params(self, dim, *, key):
        return {"kernel": jnp.full((dim, 1), 0.1), "bias": jnp.zeros(1)}

    def rows(self, params, embeddings, input_scale):
        return embeddings @ params["kernel"] / input_scale

    def objective(self, params, rows, vectors, drawn, hyper, *, key, progress):
        pairs = drawn.pairs
        margin = (rows[pairs.chosen] - rows[pairs.rejected])[..., 0] + vectors + params["bias"][0]
        return Objective(jnp.sum(pairs.weight * LOGISTIC.loss(margin)), jnp.sum(pairs.weight))

    def user_margins(self, params, rows, shots, targets, hyper):
        margin = (rows[targets.chosen] - rows[targets.rejected])[:, 0] + params["bias"][0]
        return margin + jnp.sum(shots.weight), jnp.zeros_like(margin)


GIVEN = OneDirection(learning_rate=RATE, weight_decay=DECAY, stop_after=STEPS)


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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0: a positive number"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0: a positive number"),
        ({"steps": 0}, "steps is 0: 1 or more"),
        ({"users_a_step": 0}, "users_a_step is 0: 1 or more"),
        ({"stop_after": STEPS + 1}, f"stop_after is {STEPS + 1}: 1 to {STEPS} is expected"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        OneDirection(**fields)


def test_too_few_users_are_refused():
    prefs = problem()
    able = int((prefs.weight_per_user() > 0).sum())
    message = f"OneDirection learns from users, and {able} have pairs: 20 or more are expected"
    with pytest.raises(ValueError, match=message):
        OneDirection(least_users=20).stages(prefs)
