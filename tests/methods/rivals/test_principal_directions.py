"""Weights on the directions by the condition of their optimum; the population it assumes."""

import numpy as np
import pytest
import rival_populations
from joint_fit import differences, problem

import lore_jax as lore
from lore_jax.methods.rivals.principal_directions import PrincipalDirectionsConfig


def test_the_mean_is_everybodys_mode_in_these_columns():
    prefs, spread = problem(), 0.8
    config = lore.FitConfig(PrincipalDirectionsConfig(rank=2, spread=spread))
    model, users, history = lore.fit(prefs, config, key=0)
    assert (history.choice, history.sweeps) == ({"rank": 2, "spread": spread}, ())
    mean, columns = np.asarray(model.prior.mean), np.asarray(model.params["V"])
    x = differences(prefs) @ columns
    lost = prefs.pair_weight / (1.0 + np.exp(x @ mean))
    np.testing.assert_allclose(lost @ x, mean / spread**2, atol=2e-3)  # the gradient is 0
    np.testing.assert_allclose(model.prior.factor, spread * np.eye(2), rtol=1e-6)
    # A user's mode under N(mean, spread^2 I), by the same condition.
    user = int(np.argmax(prefs.pairs_per_user()))
    mine, w = prefs.user == user, np.asarray(users.weights[user])
    lost = prefs.pair_weight[mine] / (1.0 + np.exp(x[mine] @ w))
    np.testing.assert_allclose(lost @ x[mine], (w - mean) / spread**2, atol=2e-3)


def test_it_predicts_users_who_differ_along_the_axes():
    pairs = rival_populations.taste_along_axes()
    method = PrincipalDirectionsConfig(rank=3, spread=1.0)
    assert rival_populations.gain(method, pairs) > 3.0


def test_what_is_refused():
    with pytest.raises(ValueError, match="rank is 0: 1 or more"):
        PrincipalDirectionsConfig(rank=0)
    with pytest.raises(ValueError, match="spread is -1: a positive number"):
        PrincipalDirectionsConfig(spread=-1)
    with pytest.raises(ValueError, match="rank is 7: 1 to 6"):
        PrincipalDirectionsConfig(rank=7).stages(problem())
    (stage,) = PrincipalDirectionsConfig().stages(problem())
    assert stage.candidates == ({"rank": 4},)
