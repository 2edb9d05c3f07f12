"""Laplace EM against NumPy in float64: the posterior by scipy, the M step by finite differences."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from joint_fit import differences, problem, run
from scipy.special import expit

from lore_jax import population
from lore_jax.basis import LinearBasis, MLPBasis
from lore_jax.newton import map_estimate
from lore_jax.population import PopulationConfig, PopulationHyper, PopulationState
from lore_jax.sharding import over_shards, place

RANK = 3
CONFIG = PopulationConfig(steps=50, learning_rate=0.03)
STILL = PopulationConfig(learning_rate=0.0)


def hyper_for(rank=RANK, *, terms=0.5, columns=None):
    columns = jnp.ones(rank - 1) if columns is None else jnp.asarray(columns)
    return PopulationHyper(jnp.asarray(2.0), jnp.asarray(0.7), jnp.asarray(terms), columns)


def start(prefs, rank=RANK):
    return {"V": 0.7 * np.asarray(jax.random.normal(jax.random.key(3), (prefs.dim, rank)))}


def fit(prefs, config, params, hyper, module=None, **how):
    module = LinearBasis(params["V"].shape[-1]) if module is None else module
    return run(population, config, module, params, prefs, hyper, **how)


def by_user(state, layout):
    return layout.collect(state.deviations, np.zeros(state.deviations[0].shape[1]))


def posterior(features, weight):
    """Mode and Laplace covariance of one user's deviation, by scipy in float64; `features [pairs, rank]`."""

    def objective(deviation):
        margin = features[:, 0] + features[:, 1:] @ deviation
        slope = deviation - features[:, 1:].T @ (weight * expit(-margin))
        return weight @ np.logaddexp(0, -margin) + deviation @ deviation / 2, slope

    k = features.shape[1] - 1
    found = (
        scipy.optimize.minimize(objective, np.zeros(k), jac=True, method="BFGS", options={"gtol": 1e-10}) if k else None
    )
    mode = found.x if found else np.zeros(0)
    right = expit(features[:, 0] + features[:, 1:] @ mode)
    hessian = (features[:, 1:].T * (weight * right * (1 - right))) @ features[:, 1:] + np.eye(k)
    return mode, np.linalg.inv(hessian)


def test_e_step_reaches_the_mode():
    prefs = problem()
    params = start(prefs)
    state, _, data, layout = fit(prefs, STILL, params, hyper_for(terms=0.0), steps=6)
    found, features = by_user(state, layout), differences(prefs) @ params["V"]
    for user in range(prefs.num_users):
        rows = prefs.user == user
        mode, _ = posterior(features[rows], prefs.weight[rows].astype(float))
        np.testing.assert_allclose(found[user], mode, atol=1e-5)
    # The same solve as for a new user.
    for bucket, deviation in zip(data.buckets, state.deviations, strict=True):
        table = np.asarray(prefs.embeddings) @ params["V"]
        along = np.moveaxis(table[bucket.chosen[0]] - table[bucket.rejected[0]], -1, 0)
        estimate = map_estimate(along[1:], along[0], bucket.weight[0], jnp.zeros(deviation[0].shape))
        np.testing.assert_allclose(deviation[0], estimate.deviation, atol=1e-4)


def forward(basis, embeddings):
    """The basis in NumPy, float64."""
    layer = embeddings.astype(np.float64)
    if "Dense_0" in basis:
        layer = layer * embeddings.shape[1] ** 0.5 @ basis["Dense_0"]["kernel"] + basis["Dense_0"]["bias"]
        layer = 0.5 * layer * (1 + np.tanh((2 / np.pi) ** 0.5 * (layer + 0.044715 * layer**3)))
    return layer @ basis["V"]


def features_of(params, prefs, hyper):
    table = forward(params["basis"], prefs.embeddings) + float(hyper.response_terms) * params["terms"]
    return table[prefs.chosen] - table[prefs.rejected]


def objective(params, prefs, hyper, fixed):
    """The M step's objective in float64; posteriors and the curvature of the loss are `fixed`."""
    mode, covariance, curvature = fixed
    features = features_of(params, prefs, hyper)
    margin = features[:, 0] + np.sum(features[:, 1:] * mode[prefs.user], axis=1)
    variance = np.einsum("pa,pab,pb->p", features[:, 1:], covariance[prefs.user], features[:, 1:])
    pairs = prefs.weight.sum(dtype=float)
    loss = prefs.weight @ (np.logaddexp(0, -margin) + 0.5 * curvature * variance) / pairs
    square = sum(np.sum(part**2, axis=0) for part in (params["basis"]["V"], params["terms"]))
    hidden = sum(np.sum(leaf**2) for leaf in jax.tree.leaves(params["basis"].get("Dense_0", {})))
    ridge = float(hyper.ridge_population) * square[0] + float(hyper.ridge_deviation) * (square[1:].sum() + hidden)
    return loss, ridge / pairs


CASES = {  # name: rank, size of the responses' terms, hidden layers
    "linear": (RANK, 0.5, ()),
    "no terms": (RANK, 0.0, ()),
    "population alone": (1, 0.5, ()),
    "hidden layer": (RANK, 0.5, (4,)),
}


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_slope_of_the_expected_loss(name):
    rank, terms, hidden = CASES[name]
    prefs, hyper = problem(), hyper_for(rank, terms=terms)
    module = MLPBasis(rank, hidden) if hidden else LinearBasis(rank)
    basis = module.init(jax.random.key(3), jnp.asarray(prefs.embeddings), 1.0)["params"]
    rng = np.random.default_rng(4)
    params = {"basis": basis, "terms": rng.normal(size=(prefs.num_responses, rank)).astype(np.float32)}
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    features = features_of(wide, prefs, hyper)
    solved = [posterior(features[prefs.user == u], prefs.weight[prefs.user == u]) for u in range(prefs.num_users)]
    mode, covariance = (np.stack(part) for part in zip(*solved, strict=True))
    right = expit(features[:, 0] + np.sum(features[:, 1:] * mode[prefs.user], axis=1))
    fixed = mode, covariance, right * (1 - right)

    # From the modes, the two Newton steps of the E step stay where they are.
    data, layout = place(prefs, 1.0)
    shard = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], params)
    adam = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], population._adam(STILL).init(params))
    deviations = tuple(jnp.asarray(leaf, jnp.float32) for leaf in layout.spread(mode))
    step = over_shards(functools.partial(population.step, module=module, config=STILL))
    state, info = step(PopulationState(shard, adam, deviations), data, hyper)
    gradient = jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float64) / 0.1, optax.tree.get(state.optimiser, "mu"))

    loss, _ = objective(wide, prefs, hyper, fixed)
    np.testing.assert_allclose(info["loss"][0], loss, rtol=1e-5)
    np.testing.assert_allclose(by_user(state, layout), mode, atol=1e-5)
    for seed in range(5):
        along = jax.tree.map(np.random.default_rng(seed).normal, wide)  # any direction will do
        ahead, behind = (
            sum(objective(jax.tree.map(lambda leaf, by, s=s: leaf + s * by, wide, along), prefs, hyper, fixed))
            for s in (1e-5, -1e-5)
        )
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, by: np.sum(g * by), gradient, along)))
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-3, atol=1e-4)
    if terms == 0.0:  # nothing but the ridge acts on them, so that they stay 0 where they start
        ridges = np.array([hyper.ridge_population] + [hyper.ridge_deviation] * (rank - 1))
        np.testing.assert_allclose(gradient["terms"], 2 * ridges * params["terms"] / prefs.weight.sum(), rtol=1e-4)


@functools.cache
def on_one_device():
    return fit(problem(), CONFIG, start(problem()), hyper_for())


@pytest.mark.parametrize("mapping", ["jit", "pmap"])
def test_eight_devices_are_one(mapping):
    prefs = problem()
    one, history_of_one, _, layout_of_one = on_one_device()
    eight, history, _, layout = fit(prefs, CONFIG, start(prefs), hyper_for(), devices=8, mapping=mapping)
    chex.assert_trees_all_close(history, history_of_one, rtol=1e-4)
    np.testing.assert_allclose(by_user(eight, layout), by_user(one, layout_of_one), atol=1e-3)
    for name in ("basis", "terms"):
        leaves = zip(jax.tree.leaves(eight.params[name]), jax.tree.leaves(one.params[name]), strict=True)
        for many, single in leaves:
            np.testing.assert_allclose(many, np.broadcast_to(single, many.shape), atol=1e-4)


def test_masked_columns_are_a_smaller_rank():
    prefs = problem()
    params = {"V": np.insert(start(prefs)["V"], 1, 3.0, axis=1)}
    wide, history, _, layout = fit(prefs, CONFIG, params, hyper_for(4, columns=[0.0, 1.0, 1.0]))
    narrow, expected, _, _ = on_one_device()
    np.testing.assert_allclose([row["loss"] for row in history], [row["loss"] for row in expected], rtol=1e-5)
    np.testing.assert_allclose(wide.params["basis"]["V"][0][:, [0, 2, 3]], narrow.params["basis"]["V"][0], atol=1e-5)
    np.testing.assert_allclose(wide.params["terms"][0][:, [0, 2, 3]], narrow.params["terms"][0], atol=1e-5)
    found = by_user(wide, layout)
    np.testing.assert_allclose(found[:, 1:], by_user(narrow, layout), atol=1e-4)
    assert not found[:, 0].any()


def test_the_loss_falls():
    prefs = problem()
    _, history, _, _ = fit(prefs, CONFIG, start(prefs), hyper_for(), steps=50)
    assert history[-1]["loss"] < history[0]["loss"] - 0.05
