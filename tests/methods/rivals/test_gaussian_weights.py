"""Predictions of a fold and of the exported model are the same margins."""

import jax
import numpy as np
from joint_fit import problem

from lore_jax.methods.base import FoldWeights
from lore_jax.methods.rivals.gaussian_weights import GaussianWeights
from lore_jax.methods.rivals.principal_directions import PrincipalDirectionsConfig
from lore_jax.parallel.devices import over_shards, place


def test_folds_are_predicted_as_the_exported_model_predicts():
    prefs, method = problem(), PrincipalDirectionsConfig(rank=2, spread=1.5)
    data, layout = place(prefs, 1.0)
    rng = np.random.default_rng(0)
    fitted = GaussianWeights(
        rng.normal(size=(1, prefs.dim, 3)).astype(np.float32),
        np.float32([[0.5, -1.0, 0.0]]),
        np.float32([[1.5, 1.5, 0.0]]),  # the last column is not in use
    )

    def predict(_, data, fitted):
        fold = [FoldWeights(*[bucket.pair_weight] * 3) for bucket in data.buckets]
        return [*method.predict(fitted, data, fold, None)]

    predictions = over_shards(predict, donate=False)(jax.numpy.zeros(1), data, fitted)
    exported = method.export(jax.tree.map(lambda leaf: leaf[None], fitted), layout, prefs)
    assert exported.model.rank == 2
    margins = exported.fitted(prefs, prefs)
    for bucket, prediction in enumerate(predictions):
        pairs = layout.pairs(bucket)[0]
        real = pairs >= 0
        expected = -margins.log_probability[pairs[real]]
        np.testing.assert_allclose(prediction.loss[0, 0][real], expected, atol=1e-4)
        correct = margins.mean[pairs[real]] > 0
        np.testing.assert_array_equal(prediction.correct[0, 0][real], correct)
