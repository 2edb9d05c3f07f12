"""Heads against ridge Bradley-Terry on the weighted pairs; folds; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import differences, problem

from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit_predictor
from lore_jax.methods.base import FoldWeights
from lore_jax.methods.rivals.ensemble import EnsembleConfig, bootstrap_weights
from lore_jax.methods.shared_direction import Direction
from lore_jax.parallel.buckets import PerUser
from lore_jax.parallel.devices import over_shards, place


def fitted(prefs, **settings):
    config = FitConfig(EnsembleConfig(ridge=1.0, num_heads=3, **settings))
    return fit_predictor(prefs, config, key=jax.random.key(0))[0]


def drawn(prefs, head, devices=1):
    """How often each user is drawn for a head of the fit of `fitted`."""
    data, layout = place(prefs, 1.0, jax.devices()[:devices])
    key = jax.random.split(jax.random.split(jax.random.key(0))[1], 3)[head]
    program = over_shards(
        lambda _, data, key: bootstrap_weights(data, jax.random.wrap_key_data(key)),
        devices=jax.devices()[:devices],
    )
    weights = program(jnp.zeros(devices), data, np.asarray(jax.random.key_data(key)))
    return layout.collect(PerUser(tuple(map(np.asarray, weights))), 0.0)


def test_each_head_is_the_optimum_of_its_bootstrap():
    prefs = problem()
    predictor, x = fitted(prefs), differences(prefs)
    scale = EnsembleConfig().input_scale(prefs)
    for head in range(3):
        count = drawn(prefs, head)
        assert set(count) <= set(range(10))
        direction = predictor.heads[:, head] * scale
        lost = prefs.pair_weight * count[prefs.user] / (1.0 + np.exp(x / scale @ direction))
        np.testing.assert_allclose(lost @ (x / scale), 2.0 * direction, atol=3e-3)
    assert np.abs(predictor.heads[:, 0] - predictor.heads[:, 1]).max() > 0.01


def test_draws_do_not_depend_on_the_shards_and_average_one():
    prefs = problem(users=200)
    one = drawn(prefs, 0)
    np.testing.assert_array_equal(drawn(prefs, 0, devices=8), one)
    judged = prefs.pairs_per_user() > 0
    assert abs(one[judged].mean() - 1.0) < 0.3


def test_folds_are_predicted_as_the_predictor_predicts():
    prefs = problem().take_responses()
    method = EnsembleConfig(num_heads=3, lower_bound=1.0)
    data, layout = place(prefs, 1.0)
    heads = Direction(jax.random.normal(jax.random.key(0), (3, prefs.dim)), jnp.zeros((3, 1)))

    def predict(_, data, hyper):
        fold = [FoldWeights(*[bucket.pair_weight] * 3) for bucket in data.buckets]
        return method.predict(heads, data, fold, hyper)

    predictions = over_shards(predict, donate=False)(jnp.zeros(1), data, jnp.ones(()))
    exported = method.export(jax.tree.map(lambda leaf: leaf[None], heads), layout, prefs)
    expected = -exported.adapted(prefs, prefs).log_probability
    for bucket, prediction in enumerate(predictions):
        pairs = layout.pairs(bucket)[0]
        real = pairs >= 0
        np.testing.assert_allclose(prediction.loss[0, 0][real], expected[pairs[real]], atol=1e-4)


def test_what_is_refused():
    with pytest.raises(ValueError, match="num_heads is 1: 2 or more"):
        EnsembleConfig(num_heads=1)
    with pytest.raises(ValueError, match="lower_bound is -1: 0 or more"):
        EnsembleConfig(lower_bound=-1)
    with pytest.raises(ValueError, match="ridge is 0: a positive number"):
        EnsembleConfig(ridge=0)
