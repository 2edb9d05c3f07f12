"""A new user takes the inner steps; who it is for; what is refused."""

import numpy as np
import pytest
import rival_populations
from inner_steps_by_numpy import softmax, user_logits
from joint_fit import differences, problem

import lore_jax as lore
from lore_jax.data.preferences import from_arrays
from lore_jax.methods.rivals.meta_learned import MetaLearnedConfig


def test_a_new_user_takes_the_inner_steps_and_without_shots_none():
    prefs = problem(dim=3)
    config = lore.FitConfig(MetaLearnedConfig(rank=2, temperature=1.0, steps=3))
    model, users, history = lore.fit(prefs, config, key=0)
    assert np.isfinite(history.loss).all()
    prior, x = model.prior, differences(prefs) @ np.asarray(model.params["V"])
    for user in range(prefs.num_users):
        mine = prefs.user == user
        start, rate = np.asarray(prior.start, float), float(prior.rate)
        mix = softmax(user_logits(start, rate, x[mine], prefs.pair_weight[mine]))
        np.testing.assert_allclose(users.weights[user], mix, atol=1e-4)
    np.testing.assert_allclose(users.weights[3], prior.mean)  # who has no pairs


def test_it_predicts_users_who_mix_a_few_rewards():
    pairs = rival_populations.mixed_rewards()
    method = MetaLearnedConfig(rank=2, temperature=10.0, steps=150)
    assert rival_populations.gain(method, pairs) > 3.0


def test_what_is_refused():
    with pytest.raises(ValueError, match="temperature is 0: a positive number"):
        MetaLearnedConfig(temperature=0)
    prefs = from_arrays(np.eye(3, dtype=np.float32), [0, 1], [1, 2], [0, 1])
    with pytest.raises(ValueError, match="no user has two pairs"):
        MetaLearnedConfig().stages(prefs)
