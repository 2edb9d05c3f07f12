"""Folds are predicted as by the predictor; what few coordinates leave out; who it is for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rival_populations
from joint_fit import problem

from lore_jax.data.preferences import from_arrays
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit_predictor
from lore_jax.methods.base import FoldWeights
from lore_jax.methods.rivals import full_rank
from lore_jax.methods.rivals.full_rank import FullRankConfig, FullRankFit
from lore_jax.methods.shared_direction import Direction
from lore_jax.parallel.devices import over_shards, place


def test_folds_are_predicted_as_the_predictor_predicts():
    prefs, method = problem(), FullRankConfig(ridge=1.0, tau=1.5)
    data, layout = place(prefs, 2.0)
    direction = Direction(jnp.linspace(-1.0, 1.0, prefs.dim), jnp.zeros(1))

    def predict(_, data, hyper):
        fold = [FoldWeights(*[bucket.pair_weight] * 3) for bucket in data.buckets]
        state = method.finish(direction, data, hyper)
        return state, method.predict(state, data, fold, hyper)

    state, predictions = over_shards(predict, donate=False)(
        jnp.zeros(1), data, jnp.array([1.0, 1.5])
    )
    exported = method.export(state, layout, prefs)
    assert exported.tau == pytest.approx(0.75)
    expected = -exported.adapted(prefs, prefs).log_probability
    for bucket, prediction in enumerate(predictions):
        pairs = layout.pairs(bucket)[0]
        real = pairs >= 0
        np.testing.assert_allclose(prediction.loss[0, 0][real], expected[pairs[real]], atol=2e-3)


def test_what_few_coordinates_leave_out_is_each_responses_own():
    """`E E'` plus a diagonal is what a table with a coordinate more for each response has."""
    prefs, method = problem(), FullRankConfig(ridge=1.0, tau=1.0)
    outside = np.linspace(0.5, 2.0, prefs.num_responses).astype(np.float32)
    wide = np.concatenate([prefs.embeddings, np.diag(np.sqrt(outside))], axis=1)
    losses = []
    for table, left in ((prefs.embeddings, outside), (wide, None)):
        data, _ = place(dataclasses.replace(prefs, embeddings=table), 1.0)
        data = dataclasses.replace(data, outside=left)
        fitted = FullRankFit(Direction(jnp.zeros(table.shape[1]), jnp.zeros(1)), jnp.ones(()))

        def predict(_, data, fitted):
            fold = [FoldWeights(*[bucket.pair_weight] * 3) for bucket in data.buckets]
            return method.predict(fitted, data, fold, jnp.ones(2))

        losses.append(over_shards(predict, donate=False)(jnp.zeros(1), data, fitted)[0].loss)
    np.testing.assert_allclose(*losses, atol=2e-3)


def test_it_predicts_users_with_many_shots():
    pairs = rival_populations.taste_along_axes(dim=6, shots=60)
    assert rival_populations.gain(FullRankConfig(ridge=3.0, tau=2.0), pairs) > 3.0


def test_ridge_and_then_tau_are_chosen():
    prefs = problem()
    config = FitConfig(FullRankConfig(), folds=2, repeats=1)
    _, history = fit_predictor(prefs, config, key=jax.random.key(0))
    assert [table.name for table in history.sweeps] == ["ridge", "tau"]
    assert history.choice.keys() == {"ridge", "tau"}


def test_what_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="tau is 0: a positive number"):
        FullRankConfig(tau=0)
    monkeypatch.setattr(full_rank, "MOST_RESPONSES", 2)
    prefs = from_arrays(np.eye(3, dtype=np.float32), [0, 1], [1, 2], [0, 0])
    with pytest.raises(ValueError, match=r"3 responses are compared: .* at most 2"):
        FullRankConfig().stages(prefs)
