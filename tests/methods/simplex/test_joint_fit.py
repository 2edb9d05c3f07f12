"""The simplex fit against NumPy in float64: the objective by loops over users, the gradient derived
by hand, Adam.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from joint_fit import problem, run
from scipy.special import softmax
from simplex_transcription import Transcription

from lore_jax.fitting.config import LATER_VARIANT
from lore_jax.methods.simplex import joint_fit
from lore_jax.methods.simplex.config import SimplexSettings
from lore_jax.methods.simplex.joint_fit import SimplexHyper
from lore_jax.model.basis import LinearBasis, MLPBasis

RANK = 3
PAPER = SimplexSettings()
SHORT = dataclasses.replace(
    LATER_VARIANT, steps=10
)  # so that ten steps see the whole schedule of the anchor
CONFIGS = {
    "paper": PAPER,
    "pooled": SimplexSettings(pooled=True, scale=30.0, temperature=10.0, learning_rate=0.1),
    "alternate": SimplexSettings(alternate=True),
    "anchor": SimplexSettings(steps=10, anchor=1e4),
    "later": SHORT,
}


def start(prefs, config, rank=RANK):
    """Initial V and logits."""
    directions = np.array(jax.random.normal(jax.random.key(1), (prefs.dim, rank)))
    return {"V": directions}, np.array(
        joint_fit.draw_logits(config, prefs.num_users, rank, key=jax.random.key(2))
    )


def hyper_for(prefs, rank=RANK, columns=None):
    return SimplexHyper(
        jnp.ones(rank) if columns is None else jnp.asarray(columns), jnp.asarray(prefs.head)
    )


def fit(prefs, config, params=None, logits=None, hyper=None, module=None, **how):
    default_params, default_logits = start(prefs, config)
    params = default_params if params is None else params
    logits = default_logits if logits is None else logits
    hyper = hyper_for(prefs, logits.shape[1]) if hyper is None else hyper
    module = LinearBasis(logits.shape[1]) if module is None else module
    how = {"input_scale": 1.0 / config.scale, "steps": 10, **how}

    def begin(start, data, hyper):
        return joint_fit.init(config, *start, data)

    has_pairs = np.bincount(prefs.user, prefs.pair_weight, prefs.num_users) > 0
    state, history, layout = run(
        joint_fit, config, module, begin, (params, logits), prefs, hyper, **how
    )
    return state, history, joint_fit.collect_fit(state, layout, has_pairs, hyper, config=config)


@functools.cache
def on_one_device(name):
    return fit(problem(), CONFIGS[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_ten_steps_equal_the_transcription(name):
    prefs, config = problem(), CONFIGS[name]
    params, logits = start(prefs, config)
    _, history, result = on_one_device(name)
    directions, at_end, losses = Transcription(prefs, config).fit(params["V"], logits, 10)
    weights = softmax(at_end, axis=1)
    has_evidence = np.isin(np.arange(prefs.num_users), prefs.user[prefs.pair_weight > 0])
    counted = 1 if config.pooled else has_evidence.sum()
    # Float32 against float64, through ten steps of a method that divides by the gradient's own
    # size.
    np.testing.assert_allclose(history.loss, np.array(losses) / counted, rtol=1e-5)
    np.testing.assert_allclose(result.params["V"], directions, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result.weights[has_evidence], weights[has_evidence], atol=1e-4)


@pytest.mark.parametrize("name", ["paper", "pooled"])
def test_gradient_is_the_slope_of_the_objective(name):
    prefs, config = problem(), dataclasses.replace(CONFIGS[name], temperature=3.0)
    params, logits = start(prefs, config)
    (state, history, _), truth = fit(prefs, config, steps=1), Transcription(prefs, config)
    # After one step Adam's first moment is a tenth of the gradient.
    of_directions = optax.tree.get(state.optimiser[0], "mu")["V"][0] / 0.1
    rng, width = np.random.default_rng(0), 1e-5
    squares = 0.0
    for _ in range(5):
        along = rng.normal(size=params["V"].shape)
        ahead, behind = (truth.objective(params["V"] + s * along, logits) for s in (width, -width))
        np.testing.assert_allclose(
            np.sum(of_directions * along), (ahead - behind) / (2 * width), rtol=1e-3, atol=1e-6
        )
    squares = sum(
        np.sum(part**2) for part in truth.gradient(params["V"].astype(float), logits.astype(float))
    )
    np.testing.assert_allclose(history.grad_norm[0], np.sqrt(squares), rtol=1e-4)


@pytest.mark.parametrize("mapping", ["jit", "pmap"])
@pytest.mark.parametrize("name", ["paper", "later"])
def test_eight_devices_are_one(name, mapping):
    prefs, config = problem(), CONFIGS[name]
    _, history_of_one, one = on_one_device(name)
    _, history, eight = fit(prefs, config, devices=8, mapping=mapping)
    chex.assert_trees_all_close(
        eight, one, atol=1e-4
    )  # sums in another order, then Adam's division
    chex.assert_trees_all_close(history, history_of_one, rtol=1e-4)


@pytest.mark.parametrize("name", ["paper", "later"])
def test_masked_columns_are_a_smaller_rank(name):
    prefs, config = problem(), CONFIGS[name]
    params, logits = start(prefs, config)
    params, logits = (
        {"V": np.insert(params["V"], 1, 7.0, axis=1)},
        np.insert(logits, 1, 9.0, axis=1),
    )
    _, history, result = fit(
        prefs, config, params, logits, hyper_for(prefs, columns=[1.0, 0.0, 1.0, 1.0])
    )
    _, expected_history, expected = on_one_device(name)
    assert result.columns.tolist() == [0, 2, 3]
    chex.assert_trees_all_close(result._replace(columns=expected.columns), expected, atol=1e-5)
    chex.assert_trees_all_close(history, expected_history, rtol=1e-4)


def test_users_without_evidence_are_the_mean_of_the_others():
    _, _, result = on_one_device("paper")
    others = np.delete(result.weights, [3, 5], axis=0)  # no pairs; pairs that weigh nothing
    np.testing.assert_allclose(
        result.weights[[3, 5]], np.tile(others.mean(axis=0), (2, 1)), atol=1e-6
    )
    np.testing.assert_allclose(result.mean, others.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(result.weights.sum(axis=1), 1.0, atol=1e-6)


def test_pruning_renormalises():
    prefs = problem()
    params, logits = start(prefs, PAPER)
    logits[:, 1] = -9.0  # a column that nobody weighs
    whole, pruned = (
        fit(prefs, SimplexSettings(prune=p), params, logits, steps=0)[2] for p in (0.0, 0.25)
    )
    assert whole.columns.tolist() == [0, 1, 2]
    assert pruned.columns.tolist() == [0, 2]
    np.testing.assert_array_equal(pruned.params["V"], params["V"][:, [0, 2]])
    has_evidence = np.delete(np.arange(prefs.num_users), [3, 5])
    np.testing.assert_allclose(
        whole.weights[has_evidence], softmax(logits[has_evidence], axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(
        pruned.weights[has_evidence], softmax(logits[has_evidence][:, [0, 2]], axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(pruned.weights.sum(axis=1), 1.0, rtol=1e-6)


def test_hidden_layers_train_along():
    prefs, module = problem(), MLPBasis(RANK, hidden=(5,))
    params = module.init(jax.random.key(0), jnp.asarray(prefs.embeddings), 1.0)["params"]
    config = SimplexSettings(temperature=1.0, learning_rate=0.05)
    _, history, result = fit(prefs, config, params, module=module, steps=40)
    assert history.loss[-1] < 0.8 * history.loss[0]
    assert not np.allclose(
        result.params["Dense_0"]["kernel"], params["Dense_0"]["kernel"], atol=1e-2
    )


def test_logits_are_drawn_as_the_preset_says():
    for config, mean, deviation in ((PAPER, 0.0, 1.0), (LATER_VARIANT, 0.5, 12**-0.5)):
        drawn = joint_fit.draw_logits(config, 2000, 4, key=jax.random.key(0))
        np.testing.assert_allclose([drawn.mean(), drawn.std()], [mean, deviation], atol=0.04)


def test_bad_fits_are_refused():
    prefs, anchored = problem(), SimplexSettings(anchor=1.0)
    module = MLPBasis(RANK, hidden=(prefs.dim,))
    hidden = module.init(jax.random.key(0), jnp.asarray(prefs.embeddings), 1.0)["params"]
    with pytest.raises(ValueError, match="only a linear basis has directions"):
        fit(prefs, anchored, hidden, module=module)
    with pytest.raises(ValueError, match="no reference head"):
        fit(prefs, anchored, hyper=SimplexHyper(jnp.ones(RANK)))
    with pytest.raises(ValueError, match="less than 1 / rank"):
        fit(prefs, SimplexSettings(prune=0.5))
