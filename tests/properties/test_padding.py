"""Padding is nobody: fits on arrays filled up to round sizes are those on arrays as they are."""

import numpy as np
import pytest
from joint_fit import problem

from lore_jax.fitting import reduced_table
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit_predictor
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.rivals.matrix_factorisation import MatrixFactorisationConfig
from lore_jax.methods.rivals.user_embeddings import UserEmbeddingsConfig
from lore_jax.parallel import buckets, devices
from lore_jax.users import predict

METHODS = {
    "bradley-terry": BradleyTerryConfig(),  # its ridge is chosen, on folds that are padded too
    "population": PopulationConfig(
        steps=4,
        rank=2,
        ridge_population=1.0,
        ridge_deviation=1.0,
        item_effects=1.0,
        item_effects_deviation=0.0,
        num_components=0,
        logit_scale=1.0,
    ),
    "network": UserEmbeddingsConfig(
        steps=3, stop_after=3, learning_rate=1e-3, weight_decay=0.1, spread=1.0
    ),
    "items": MatrixFactorisationConfig(rank=2, ridge_effects=1.0, ridge_factors=3.0, steps=3),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_does_not_see_the_padding(monkeypatch, name):
    prefs = problem()
    config = FitConfig(METHODS[name], holdout="known items", folds=2, repeats=1)

    def fitted():
        predictor, history = fit_predictor(prefs, config, key=0, progress=False)
        margins = predictor.fitted(prefs, prefs)
        return [margins.mean, margins.variance, history.loss, *(t.loss for t in history.sweeps)]

    padded = fitted()
    for module, round_up in (
        (buckets, "rounded"),
        (devices, "rounded_rows"),
        (predict, "rounded_pairs"),
        (reduced_table, "rounded_rows"),
    ):
        monkeypatch.setattr(module, round_up, lambda count, *_: count)
    for got, expected in zip(padded, fitted(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-4)
