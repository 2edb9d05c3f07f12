"""Ridge Bradley-Terry against scikit-learn's logistic regression on explicit differences."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import differences, problem
from sklearn.linear_model import LogisticRegression

import lore_jax as lore
from lore_jax.fitting.config import FitConfig
from lore_jax.methods.bradley_terry import RIDGES, BradleyTerryConfig, bradley_terry
from lore_jax.parallel.devices import over_shards, place, replicate
from lore_jax.parallel.principal_axes import principal_axes


def solve(
    prefs, ridge, item_effects, *, input_scale=1.0, devices=1, mapping="jit", principal=False, **how
):
    """The estimate of every shard, NumPy with a leading shard axis."""
    data, _ = place(prefs, input_scale, jax.devices()[:devices])
    if principal:
        axes = principal_axes(np.asarray(prefs.embeddings))
        axes = jax.tree.map(lambda leaf: replicate(leaf, jax.devices()[:devices]), axes)
        data = dataclasses.replace(data, principal=axes)
    solver = over_shards(
        lambda _, data, hyper: bradley_terry(data, *hyper, **how),
        mapping,
        devices=jax.devices()[:devices],
    )
    hyper = jnp.asarray(ridge), jnp.asarray(item_effects)
    return jax.tree.map(np.asarray, solver(jnp.zeros(devices), data, hyper))


def by_scikit_learn(prefs, ridge, item_effects, input_scale):
    """(v, b).

    Item effects are the weights of one-hot columns of size c; half of each pair is stated the other
    way round.
    """
    one_hot = np.eye(prefs.num_responses)
    design = np.hstack(
        [
            differences(prefs) / input_scale,
            item_effects * (one_hot[prefs.chosen] - one_hot[prefs.rejected]),
        ]
    )
    both, won = np.vstack([design, -design]), np.repeat([1, 0], prefs.num_pairs)
    # Its objective is |x|^2 / 2 + C sum of losses, ours ridge |x|^2 + sum of losses.
    model = LogisticRegression(
        C=0.5 / ridge, fit_intercept=False, tol=1e-10, solver="newton-cholesky", max_iter=200
    )
    result = model.fit(both, won, np.tile(prefs.pair_weight / 2.0, 2)).coef_[0]
    return result[: prefs.dim], result[prefs.dim :]


CASES = [  # ridge, item effects, scale of the embeddings, input scale
    (1.0, 0.0, 1.0, 1.0),
    (0.3, 0.5, 1.0, 2.0),
    (0.01, 2.0, 5.0, 5.0),
    (100.0, 1.0, 0.1, 0.1),
]


@pytest.mark.parametrize("principal", [False, True])
@pytest.mark.parametrize(("ridge", "item_effects", "scale", "input_scale"), CASES)
def test_equals_logistic_regression(ridge, item_effects, scale, input_scale, principal):
    prefs = problem(scale=scale)
    result = solve(prefs, ridge, item_effects, input_scale=input_scale, principal=principal)
    direction, effects = by_scikit_learn(prefs, ridge, item_effects, input_scale)
    assert result.converged.all()
    # The solve stops at a Newton decrement of 1e-3: that many standard deviations of 1 / sqrt(2
    # ridge) at most.
    tolerance = 1e-3 / np.sqrt(2.0 * ridge)
    np.testing.assert_allclose(result.direction[0], direction, atol=tolerance)
    np.testing.assert_allclose(result.item_effects[0], effects, atol=tolerance)


def test_separable_pairs_converge():
    prefs = problem()
    hidden = differences(prefs) @ np.arange(1.0, 1.0 + prefs.dim) > 0
    chosen, rejected = np.where(
        hidden, (prefs.chosen, prefs.rejected), (prefs.rejected, prefs.chosen)
    )
    prefs = dataclasses.replace(prefs, chosen=chosen, rejected=rejected)
    result = solve(prefs, 0.01, 0.0)
    assert result.converged.all()
    np.testing.assert_allclose(
        result.direction[0], by_scikit_learn(prefs, 0.01, 0.0, 1.0)[0], rtol=1e-3
    )


@pytest.mark.parametrize("mapping", ["jit", "pmap"])
def test_eight_devices_are_one(mapping):
    prefs = problem()
    one, eight = solve(prefs, 0.3, 0.5), solve(prefs, 0.3, 0.5, devices=8, mapping=mapping)
    for name in ("direction", "item_effects"):
        result = getattr(eight, name)
        np.testing.assert_allclose(
            result, np.broadcast_to(getattr(one, name), result.shape), atol=1e-4
        )
    assert eight.converged.all()


def test_ridges_vmap():
    prefs, ridges = problem(), np.array([0.1, 1.0, 30.0], np.float32)
    data, _ = place(prefs, 1.0)
    one = functools.partial(bradley_terry, item_effects=jnp.zeros(()))
    solver = over_shards(lambda _, data, ridges: jax.vmap(one, in_axes=(None, 0))(data, ridges))
    result = solver(jnp.zeros(1), data, ridges)
    for ridge, direction in zip(ridges, result.direction[0], strict=True):
        expected, _ = by_scikit_learn(prefs, float(ridge), 0.0, 1.0)
        np.testing.assert_allclose(direction, expected, atol=1e-3 / np.sqrt(2 * ridge))


def test_says_when_it_has_not_converged():
    assert not solve(problem(), 0.01, 0.0, max_steps=1).converged.any()


def test_ridges_are_the_candidates_the_largest_first():
    prefs = problem()
    (stage,) = BradleyTerryConfig().stages(prefs)
    ridges = [choice["ridge"] for choice in stage.choices({})]
    assert ridges == sorted(RIDGES, reverse=True)
    (given,) = BradleyTerryConfig(ridge=2.0).stages(prefs)
    assert given.choices({}) == [{"ridge": 2.0}]
    for ridge in (0.0, float("nan")):
        with pytest.raises(ValueError, match=f"ridge is {ridge}: a positive number"):
            BradleyTerryConfig(ridge=ridge)


def test_the_model_is_the_solution_at_the_ridge_that_is_given_or_chosen():
    prefs = problem(scale=5.0)
    scale = BradleyTerryConfig().input_scale(prefs)
    assert scale == pytest.approx(np.sqrt(np.mean(np.sum(prefs.embeddings**2, axis=1))), rel=1e-6)
    model, _, history = lore.fit(prefs, FitConfig(BradleyTerryConfig(0.3)), key=jax.random.key(0))
    assert (history.choice, history.sweeps) == ({"ridge": 0.3}, ())
    direction, _ = by_scikit_learn(prefs, 0.3, 0.0, scale)
    np.testing.assert_allclose(
        model.params["V"][:, 0] * scale, direction, atol=1e-3 / np.sqrt(2.0 * 0.3)
    )
    chosen, _, history = lore.fit(
        prefs, FitConfig(BradleyTerryConfig(), folds=2), key=jax.random.key(0)
    )
    (table,) = history.sweeps
    # The best is at the end of the grid, which goes on.
    assert table.settings[: len(RIDGES)] == [{"ridge": ridge} for ridge in RIDGES]
    further = [setting["ridge"] for setting in table.settings[len(RIDGES) :]]
    beyond = RIDGES[0] * (10 / 3) ** np.arange(1.0, len(further) + 1)
    np.testing.assert_allclose(further, beyond, rtol=1e-6)
    loss = np.nanmean(table.loss, axis=1)
    gained = -np.diff(loss[[0, *range(len(RIDGES), len(loss))]])
    assert (gained[:-1] >= 5e-4).all()
    assert gained[-1] < 5e-4 or len(further) == 4
    assert history.choice == table.settings[table.best]
    direction, _ = by_scikit_learn(prefs, history.choice["ridge"], 0.0, scale)
    np.testing.assert_allclose(
        chosen.params["V"][:, 0] * scale,
        direction,
        atol=1e-3 / np.sqrt(2.0 * history.choice["ridge"]),
    )


@pytest.mark.parametrize("devices", [1, 2])
def test_comparisons_that_many_made_are_solved_for_once(devices, monkeypatch):
    prefs = problem(users=60, responses=6)
    expected = solve(prefs, 1.0, 0.5, devices=devices)
    monkeypatch.setattr("lore_jax.parallel.distinct_pairs._MANY", 1)
    data, _ = place(prefs, 1.0, jax.devices()[:devices])
    assert data.distinct.chosen.shape[-1] < prefs.num_pairs / devices / 2
    result = solve(prefs, 1.0, 0.5, devices=devices)
    np.testing.assert_allclose(result.direction, expected.direction, atol=1e-4)
    np.testing.assert_allclose(result.item_effects, expected.item_effects, atol=1e-4)
