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

from lore_jax.methods.gaussian import laplace_em
from lore_jax.methods.gaussian.laplace_em import EMConfig, PopulationHyper, PopulationState
from lore_jax.model.basis import LinearBasis, MLPBasis

RANK = 3
CONFIG = EMConfig(steps=50, learning_rate=0.03)
STILL = EMConfig(learning_rate=0.0)


def hyper_for(rank=RANK, *, item_effects=0.5, columns=None):
    columns = jnp.ones(rank - 1) if columns is None else jnp.asarray(columns)
    return PopulationHyper(jnp.asarray(2.0), jnp.asarray(0.7), jnp.full(2, item_effects), columns)


def start(prefs, rank=RANK):
    directions = 0.7 * np.asarray(jax.random.normal(jax.random.key(3), (prefs.dim, rank)))
    effects = np.zeros((prefs.num_responses, rank), np.float32)
    return {"basis": {"V": directions}, "item_effects": effects}


def fit(prefs, config, params, hyper, module=None, *, modes=None, **how):
    """Runs EM from given parameters and deviations."""
    rank = len(hyper.columns) + 1
    module = LinearBasis(rank) if module is None else module
    modes = (
        np.zeros((prefs.num_users, rank - 1), np.float32)
        if modes is None
        else modes.astype(np.float32)
    )

    def begin(start, data, hyper):
        params, deviations = start
        moments = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), deviations)
        return PopulationState(params, laplace_em._adam(config).init(params), deviations, moments)

    return run(laplace_em, config, module, begin, (params, modes), prefs, hyper, **how)


def by_user(state, layout):
    return layout.collect(state.deviations, np.zeros(state.deviations.buckets[0].shape[1]))


def posterior(features, weight):
    """Mode and Laplace covariance of one user's deviation, by scipy in float64; `features [pairs,
    rank]`.
    """

    def objective(deviation):
        margin = features[:, 0] + features[:, 1:] @ deviation
        slope = deviation - features[:, 1:].T @ (weight * expit(-margin))
        return weight @ np.logaddexp(0, -margin) + deviation @ deviation / 2, slope

    k = features.shape[1] - 1
    result = (
        scipy.optimize.minimize(
            objective, np.zeros(k), jac=True, method="BFGS", options={"gtol": 1e-10}
        )
        if k
        else None
    )
    mode = result.x if result else np.zeros(0)
    right = expit(features[:, 0] + features[:, 1:] @ mode)
    hessian = (features[:, 1:].T * (weight * right * (1 - right))) @ features[:, 1:] + np.eye(k)
    return mode, np.linalg.inv(hessian)


def test_e_step_reaches_the_mode():
    prefs = problem()
    params = start(prefs)
    state, _, layout = fit(prefs, STILL, params, hyper_for(item_effects=0.0), steps=15)
    modes, features = by_user(state, layout), differences(prefs) @ params["basis"]["V"]
    for user in range(prefs.num_users):
        rows = prefs.user == user
        mode, _ = posterior(features[rows], prefs.pair_weight[rows].astype(float))
        np.testing.assert_allclose(modes[user], mode, atol=1e-5)


def forward(basis, embeddings):
    """The basis in NumPy, float64."""
    layer = embeddings.astype(np.float64)
    if "Dense_0" in basis:
        layer = (
            layer * embeddings.shape[1] ** 0.5 @ basis["Dense_0"]["kernel"]
            + basis["Dense_0"]["bias"]
        )
        layer = 0.5 * layer * (1 + np.tanh((2 / np.pi) ** 0.5 * (layer + 0.044715 * layer**3)))
    return layer @ basis["V"]


def features_of(params, prefs, hyper):
    effects = float(hyper.item_effects[0]) * params["item_effects"]
    table = forward(params["basis"], prefs.embeddings) + effects
    return table[prefs.chosen] - table[prefs.rejected]


def objective(params, prefs, hyper, fixed):
    """The M step's objective, float64: the loss at `fixed` modes, its curvature at those found."""
    mode, covariance = fixed
    features = features_of(params, prefs, hyper)
    margin = features[:, 0] + np.sum(features[:, 1:] * mode[prefs.user], axis=1)
    variance = np.einsum("pa,pab,pb->p", features[:, 1:], covariance[prefs.user], features[:, 1:])
    pairs = prefs.pair_weight.sum(dtype=float)
    found = np.stack(
        [
            posterior(features[prefs.user == u], prefs.pair_weight[prefs.user == u])[0]
            for u in range(prefs.num_users)
        ]
    )
    right = expit(features[:, 0] + np.sum(features[:, 1:] * found[prefs.user], axis=1))
    curvature = right * (1 - right)
    loss = prefs.pair_weight @ (np.logaddexp(0, -margin) + 0.5 * curvature * variance) / pairs
    square = sum(np.sum(part**2, axis=0) for part in (params["basis"]["V"], params["item_effects"]))
    hidden = sum(np.sum(leaf**2) for leaf in jax.tree.leaves(params["basis"].get("Dense_0", {})))
    ridge = float(hyper.ridge_population) * square[0] + float(hyper.ridge_deviation) * (
        square[1:].sum() + hidden
    )
    return loss, ridge / pairs


CASES = {  # name: rank, size of the item effects, hidden layers
    "linear": (RANK, 0.5, ()),
    "no item effects": (RANK, 0.0, ()),
    "population alone": (1, 0.5, ()),
    "hidden layer": (RANK, 0.5, (4,)),
}


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_slope_of_the_expected_loss(name):
    rank, item_effects, hidden = CASES[name]
    prefs, hyper = problem(), hyper_for(rank, item_effects=item_effects)
    module = MLPBasis(rank, hidden) if hidden else LinearBasis(rank)
    basis = module.init(jax.random.key(3), jnp.asarray(prefs.embeddings), 1.0)["params"]
    rng = np.random.default_rng(4)
    params = {
        "basis": basis,
        "item_effects": rng.normal(size=(prefs.num_responses, rank)).astype(np.float32),
    }
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    features = features_of(wide, prefs, hyper)
    solved = [
        posterior(features[prefs.user == u], prefs.pair_weight[prefs.user == u])
        for u in range(prefs.num_users)
    ]
    mode, covariance = (np.stack(part) for part in zip(*solved, strict=True))
    fixed = mode, covariance

    # From the modes, the E step stays where it is.
    state, history, layout = fit(prefs, STILL, params, hyper, module, modes=mode, steps=1)
    gradient = jax.tree.map(
        lambda leaf: np.float64(leaf[0]) / 0.1, optax.tree.get(state.optimiser, "mu")
    )

    loss, _ = objective(wide, prefs, hyper, fixed)
    np.testing.assert_allclose(history.loss, [loss], rtol=1e-5)
    np.testing.assert_allclose(by_user(state, layout), mode, atol=1e-5)
    for seed in range(5):
        along = jax.tree.map(np.random.default_rng(seed).normal, wide)  # any direction will do
        ahead, behind = (
            sum(
                objective(
                    jax.tree.map(lambda leaf, by, s=s: leaf + s * by, wide, along),
                    prefs,
                    hyper,
                    fixed,
                )
            )
            for s in (1e-5, -1e-5)
        )
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, by: np.sum(g * by), gradient, along)))
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-3, atol=1e-4)
    if (
        item_effects == 0.0
    ):  # nothing but the ridge acts on them, so that they stay 0 where they start
        ridges = np.array([hyper.ridge_population] + [hyper.ridge_deviation] * (rank - 1))
        np.testing.assert_allclose(
            gradient["item_effects"],
            2 * ridges * params["item_effects"] / prefs.pair_weight.sum(),
            rtol=1e-4,
        )


@functools.cache
def from_init(**how):
    """EM as a whole, from where it starts by itself."""
    prefs, hyper, module = problem(), hyper_for(), LinearBasis(RANK)

    def begin(start, data, hyper):
        return laplace_em.init(CONFIG, module, data, hyper, jax.random.wrap_key_data(start[0]))

    start = jax.random.key_data(jax.random.key(5)), None
    return run(laplace_em, CONFIG, module, begin, start, prefs, hyper, **how)


@pytest.mark.parametrize("mapping", ["jit", "pmap"])
def test_eight_devices_are_one(mapping):
    one, history_of_one, layout_of_one = from_init()
    eight, history, layout = from_init(devices=8, mapping=mapping)
    # Five steps behind two iterative solves.
    chex.assert_trees_all_close(history, history_of_one, rtol=1e-3)
    np.testing.assert_allclose(by_user(eight, layout), by_user(one, layout_of_one), atol=1e-3)
    for many, single in zip(
        jax.tree.leaves(eight.params), jax.tree.leaves(one.params), strict=True
    ):
        np.testing.assert_allclose(many, np.broadcast_to(single, many.shape), atol=1e-3)


def test_masked_columns_are_a_smaller_rank():
    prefs = problem()
    narrow, expected, layout = fit(prefs, CONFIG, start(prefs), hyper_for())
    params = jax.tree.map(lambda leaf: np.insert(leaf, 1, 3.0, axis=1), start(prefs))
    wide, history, _ = fit(prefs, CONFIG, params, hyper_for(4, columns=[0.0, 1.0, 1.0]))
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-5)
    kept = jax.tree.map(lambda leaf: leaf[..., [0, 2, 3]], wide.params)
    chex.assert_trees_all_close(kept, narrow.params, atol=1e-5)
    result = by_user(wide, layout)
    np.testing.assert_allclose(result[:, 1:], by_user(narrow, layout), atol=1e-4)
    assert not result[:, 0].any()


def test_starts_at_bradley_terry_and_along_the_departures_from_it():
    prefs, (state, _, _) = problem(), from_init(steps=0)
    params = jax.tree.map(lambda leaf: leaf[0].astype(np.float64), state.params)
    hyper = hyper_for()
    features = features_of(params, prefs, hyper)
    pull = prefs.pair_weight * expit(-features[:, 0])
    # The convex problem's optimality: the slope of the loss is that of the ridge.
    slope = differences(prefs).T @ pull
    np.testing.assert_allclose(
        slope, 2 * float(hyper.ridge_population) * params["basis"]["V"][:, 0], atol=1e-2
    )
    # The directions span the leading eigenvectors of the users' scores, up to four rounds of
    # subspace iteration.
    scores = np.stack(
        [
            (differences(prefs) * pull[:, None])[prefs.user == u].sum(axis=0)
            for u in range(prefs.num_users)
        ]
    )
    values = np.linalg.eigvalsh(scores.T @ scores)
    directions = params["basis"]["V"][:, 1:] / np.linalg.norm(params["basis"]["V"][:, 1:], axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(RANK - 1), atol=1e-5)
    assert np.sum((scores @ directions) ** 2) > 0.97 * values[1 - RANK :].sum()
