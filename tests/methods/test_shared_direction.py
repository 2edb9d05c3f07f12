"""One direction for everybody: no step, a fold predicted by its margins, no spread."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from joint_fit import differences, problem

import lore_jax as lore
from lore_jax.methods.base import FoldWeights
from lore_jax.methods.shared_direction import Direction, SharedDirection
from lore_jax.parallel.devices import over_shards, place

SCALE = 4.0


@dataclasses.dataclass(frozen=True)
class Given(SharedDirection):
    """The direction that is asked for, as embeddings divided by the input scale see it."""

    def init(self, data, hyper, *, key):
        return Direction(hyper, jnp.zeros(1))


def run(prefs, direction, devices=1):
    """The fitted direction of every shard, predictions of each bucket, and the layout."""
    method = Given()
    data, layout = place(prefs, SCALE, jax.devices()[:devices])

    def shard(_, data, direction):
        state = method.init(data, direction, key=jax.random.key(0))
        after, info = method.step(state, data, direction)
        fitted = method.finish(after, data, direction)
        # The roles of a fold do not matter: nobody is adapted to.
        fold = [FoldWeights(*[jnp.zeros_like(bucket.pair_weight)] * 3) for bucket in data.buckets]
        return fitted, method.predict(fitted, data, fold, direction), info

    program = over_shards(shard, devices=jax.devices()[:devices])
    fitted, predictions, info = program(jnp.zeros(devices), data, direction)
    assert not np.any(info.loss)
    return fitted, predictions, layout


def test_nothing_is_learned_in_steps():
    method = Given()
    assert method.variants() == [{}]
    assert method.num_steps([{"ridge": 1.0}]) == 0
    assert method.num_minibatches == 1
    assert method.loss_unit == "nats a pair"


def test_a_fold_is_predicted_by_everybodys_margins():
    prefs = problem()
    direction = np.random.default_rng(0).normal(size=prefs.dim).astype(np.float32)
    margin = differences(prefs) @ direction / SCALE
    for devices in (1, 8):
        fitted, predictions, layout = run(prefs, jnp.asarray(direction), devices)
        np.testing.assert_allclose(
            fitted.along, np.tile(direction / SCALE, (devices, 1)), rtol=1e-6
        )
        for bucket, prediction in enumerate(predictions):
            pairs = layout.pairs(bucket)
            real = pairs >= 0
            loss, correct = (np.asarray(part)[:, 0][real] for part in prediction)
            np.testing.assert_allclose(loss, np.logaddexp(0, -margin[pairs[real]]), atol=1e-5)
            np.testing.assert_array_equal(correct, margin[pairs[real]] > 0)


def test_the_model_has_one_direction_and_no_spread():
    prefs = problem()
    direction = np.random.default_rng(1).normal(size=prefs.dim).astype(np.float32)
    fitted, _, layout = run(prefs, jnp.asarray(direction))
    predictor = Given().export(fitted, layout, prefs)
    assert predictor.model.rank == 1
    assert not np.any(predictor.model.prior.covariance)
    np.testing.assert_array_equal(predictor.users.weights, np.ones((prefs.num_users, 1)))
    counted = prefs.take_pairs(prefs.pair_weight > 0)
    np.testing.assert_array_equal(predictor.users.shots, counted.pairs_per_user())
    margins = lore.margins(predictor.model, predictor.users, prefs)
    expected = differences(prefs) @ direction / SCALE
    np.testing.assert_allclose(margins.mean, expected, rtol=1e-4, atol=1e-5)
    assert not margins.variance.any()
