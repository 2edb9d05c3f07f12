"""Folds are predicted as by the predictor; who it is for; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rival_populations
from few_items import few_items, nearest_users

from lore_jax.fitting.programs import first_state, learned
from lore_jax.methods.base import FoldWeights
from lore_jax.methods.rivals import nearest_users as nearest_users_module
from lore_jax.methods.rivals.nearest_users import NearestUsersConfig
from lore_jax.parallel.devices import over_shards, place


def test_folds_are_predicted_as_the_predictor_predicts():
    prefs, method = few_items(), NearestUsersConfig(kappa=3.0)
    data, layout = place(prefs, 1.0)

    def predict(_, data, hyper):
        fold = [FoldWeights(*[bucket.pair_weight] * 3) for bucket in data.buckets]
        scores = method.init(data, hyper, key=jax.random.key(0))
        return method.predict(scores, data, fold, hyper)

    program = over_shards(predict, donate=False)
    predictions = program(jnp.zeros(1), data, jnp.zeros(prefs.num_users))
    expected = -nearest_users(prefs).adapted(prefs, prefs).log_probability
    for bucket, prediction in enumerate(predictions):
        pairs = layout.pairs(bucket)[0]
        real = pairs >= 0
        np.testing.assert_allclose(prediction.loss[0, 0][real], expected[pairs[real]], atol=1e-4)


def test_populations_of_like_size_share_programs():
    method = NearestUsersConfig(kappa=3.0)
    devices, found = tuple(jax.local_devices()[:1]), []
    programs = first_state(NearestUsersConfig(), devices), learned(method, devices)
    for users in (22, 23, 24):
        predictor = nearest_users(few_items(users=users))
        assert predictor.score.shape == (users, 6)  # what fills up is not kept
        found.append([program._cache_size() for program in programs])
    assert found == found[:1] * 3


def test_it_predicts_known_items_by_those_who_agree():
    pairs = rival_populations.mixed_rewards(responses=16, known=True, pairs=40)
    method = NearestUsersConfig()
    assert rival_populations.gain(method, pairs, holdout="known items") > 3.0


def test_what_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="kappa is 0: a positive number"):
        NearestUsersConfig(kappa=0)
    monkeypatch.setattr(nearest_users_module, "MOST_SCORES", 100)
    with pytest.raises(ValueError, match=r"21 users times 6 responses: .*at most 100"):
        NearestUsersConfig().stages(few_items())
