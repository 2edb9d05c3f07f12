"""The paper's objective as a method: what is chosen, how a fold is predicted, what is exported."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import problem, shard_copies

import lore_jax as lore
from lore_jax.fitting.fit import start
from lore_jax.methods.base import FoldWeights
from lore_jax.methods.simplex import joint_fit
from lore_jax.methods.simplex.joint_fit import SimplexState
from lore_jax.methods.simplex.method import SimplexConfig
from lore_jax.parallel.devices import over_shards, place
from lore_jax.solvers.interior_point import simplex_estimate

RANK = 3
METHOD = SimplexConfig(rank=RANK, steps=10, learning_rate=0.1, temperature=2.0)


def ranks(method, prefs):
    (stage,) = method.stages(prefs)
    assert stage.method == method
    return [choice["rank"] for choice in stage.choices({})]


def test_ranks_are_the_candidates_the_lowest_first():
    narrow, wide = problem(), problem(dim=12)
    assert ranks(SimplexConfig(), wide) == [1, 2, 5, 10]
    assert ranks(SimplexConfig(), narrow) == [1, 2, 5]  # no more columns than the embeddings have
    assert ranks(SimplexConfig(hidden=(4,)), narrow) == [1, 2, 5, 10]
    assert ranks(SimplexConfig(rank=4), narrow) == [4]  # what is given is not asked
    assert SimplexConfig().variants() == [{}]


def test_what_cannot_be_fitted_is_refused():
    prefs = problem()
    with pytest.raises(ValueError, match="rank is 7: 1 to 6, the dim of the embeddings"):
        SimplexConfig(rank=7).stages(prefs)
    assert ranks(SimplexConfig(rank=7, hidden=(4,)), prefs) == [7]
    with pytest.raises(ValueError, match="anchor is set, but the preferences have no reference"):
        SimplexConfig(anchor=1.0).stages(dataclasses.replace(prefs, head=None))
    with pytest.raises(ValueError, match="rank is 0: 1 or more"):
        SimplexConfig(rank=0)
    with pytest.raises(ValueError, match="steps is 0: a positive number"):
        SimplexConfig(steps=0)


def test_choices_are_masks_of_columns():
    prefs, method = problem(), SimplexConfig(steps=7, scale=4.0)
    choices = [{"rank": rank} for rank in (1, 3)]
    one, three = method.hypers(choices, prefs)
    np.testing.assert_array_equal(one.columns, [1, 0, 0])
    np.testing.assert_array_equal(three.columns, [1, 1, 1])
    np.testing.assert_array_equal(one.head, prefs.head)
    assert jax.tree.structure(one) == jax.tree.structure(three)
    assert method.num_steps(choices) == 7
    assert method.input_scale(prefs) == 0.25


def test_the_loss_is_named():
    assert SimplexConfig(pooled=True).loss_unit == "nats a pair"
    assert SimplexConfig().loss_unit == "nats, the mean over users of each user's mean"


def test_users_begin_at_their_own_draws_on_any_devices():
    prefs, key = problem(), jax.random.key(3)
    drawn = []
    for count in (1, 8):
        devices = jax.devices()[:count]
        running, state = start(prefs, lore.FitConfig(METHOD), key=key, devices=devices)
        drawn.append(running.layout.collect(state.logits, np.full(RANK, 5.0, np.float32)))
    np.testing.assert_array_equal(*drawn)
    _, key = jax.random.split(key)  # `fit` splits it in two, the method again
    _, key_logits = jax.random.split(key)
    expected = joint_fit.draw_logits(METHOD, prefs.num_users, RANK, key=key_logits)
    has_pairs = prefs.pairs_per_user() > 0
    np.testing.assert_array_equal(drawn[0][has_pairs], np.asarray(expected)[has_pairs])


def predictions(directions, columns, prefs, shots):
    """Loss and correctness of every pair, `[2, pairs]`; `shots [pairs]` are weights of shots."""
    data, layout = place(prefs, 1.0)
    (hyper,) = METHOD.hypers([{"rank": len(columns)}], prefs)
    hyper = dataclasses.replace(hyper, columns=jnp.asarray(columns))

    def shard(shots, data, shared):
        directions, hyper = shared
        fold = [FoldWeights(weight, weight, weight) for weight in shots]
        state = SimplexState({"V": directions}, None, ())
        return METHOD.predict(state, data, fold, hyper)

    spread = tuple(map(jnp.asarray, layout.spread_pairs(shots)))
    predicted = over_shards(shard, donate=False)(spread, data, (jnp.asarray(directions), hyper))
    out = np.full((2, prefs.num_pairs), np.nan)
    for bucket, prediction in enumerate(predicted):
        pairs = layout.pairs(bucket)
        for row, values in enumerate(prediction):
            assert values.shape == (1, 1, *pairs.shape[1:])  # a shard, a variant
            out[row, pairs[pairs >= 0]] = np.asarray(values)[:, 0][pairs >= 0]
    return out


def test_a_fold_is_predicted_at_the_optimal_weights_of_its_shots():
    prefs, rng = problem(), np.random.default_rng(0)
    directions = rng.normal(size=(prefs.dim, RANK)).astype(np.float32)
    shots = np.where(rng.random(prefs.num_pairs) < 0.6, prefs.pair_weight, 0.0).astype(np.float32)
    shots[prefs.user == 0] = 0.0  # the mean of the simplex, without any shots
    loss, correct = predictions(directions, np.ones(RANK, np.float32), prefs, shots)
    table = prefs.embeddings @ directions / METHOD.temperature
    along = table[prefs.chosen] - table[prefs.rejected]
    for user in np.unique(prefs.user):
        rows = prefs.user == user
        features = jnp.asarray(along[rows].T)[..., None]
        weights = simplex_estimate(features, jnp.asarray(shots[rows])[:, None]).weights[:, 0]
        margin = along[rows] @ np.asarray(weights)
        np.testing.assert_allclose(loss[rows], np.logaddexp(0, -margin), atol=1e-4)
        np.testing.assert_array_equal(correct[rows], margin > 0)


def test_columns_out_of_use_change_no_prediction():
    prefs, rng = problem(), np.random.default_rng(1)
    directions = rng.normal(size=(prefs.dim, 2)).astype(np.float32)
    wide = np.insert(directions, 1, 50.0, axis=1)
    shots = np.where(prefs.user % 4 == 0, 0.0, prefs.pair_weight).astype(np.float32)
    narrow = predictions(directions, np.ones(2, np.float32), prefs, shots)
    masked = predictions(wide, np.array([1.0, 0.0, 1.0], np.float32), prefs, shots)
    # Both stop within a millionth of a nat of the optimum of a few shots.
    np.testing.assert_allclose(masked[0], narrow[0], atol=5e-3)
    np.testing.assert_array_equal(masked[1], narrow[1])


def test_the_model_has_the_columns_that_somebody_weighs_and_the_weights_of_the_fit():
    prefs = problem()
    method = dataclasses.replace(METHOD, prune=0.25, scale=4.0)
    _, layout = place(prefs, method.input_scale(prefs))
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(prefs.num_users, RANK)).astype(np.float32)
    logits[:, 1] = -9.0
    directions = rng.normal(size=(prefs.dim, RANK)).astype(np.float32)
    state = SimplexState(
        shard_copies({"V": directions}, jax.devices()[:1]), layout.spread(logits), ()
    )
    predictor = method.export(state, layout, prefs)
    model, users = predictor.model, predictor.users
    assert model.rank == 2
    np.testing.assert_array_equal(model.params["V"], directions[:, [0, 2]])
    has_pairs = prefs.weight_per_user() > 0
    weights = np.exp(logits[:, [0, 2]])
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(users.weights[has_pairs], weights[has_pairs], rtol=1e-5)
    mean = weights[has_pairs].mean(axis=0)
    np.testing.assert_allclose(users.weights[~has_pairs], np.tile(mean, (2, 1)), rtol=1e-5)
    np.testing.assert_allclose(model.prior.mean, mean, rtol=1e-5)
    counted = prefs.take_pairs(prefs.pair_weight > 0)
    np.testing.assert_array_equal(users.shots, counted.pairs_per_user())
    assert not users.covariance.any()
    # Raw embeddings times the scale, margins over the temperature.
    table = prefs.embeddings @ directions[:, [0, 2]] * 4.0 / 2.0
    np.testing.assert_allclose(
        lore.rewards(model, prefs.embeddings).table, table, rtol=1e-4, atol=1e-5
    )
