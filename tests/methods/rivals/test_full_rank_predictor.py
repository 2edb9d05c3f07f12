"""The dual mode against scipy on explicit directions."""

import numpy as np
from joint_fit import differences, problem
from scipy.optimize import minimize

from lore_jax.methods.rivals import full_rank_predictor
from lore_jax.methods.rivals.full_rank_predictor import FullRankPredictor


def by_scipy(x, offset, weight, tau, tests):
    """Mean and variance of `x' d` under the Laplace posterior of d, `[dim]`."""

    def objective(d):
        margin = offset + x @ d
        gradient = d / tau**2 - x.T @ (weight / (1.0 + np.exp(margin)))
        return weight @ np.logaddexp(0.0, -margin) + 0.5 * d @ d / tau**2, gradient

    d = minimize(objective, np.zeros(x.shape[1]), jac=True, tol=1e-10).x
    lost = 1.0 / (1.0 + np.exp(offset + x @ d))
    hessian = x.T @ ((weight * lost * (1.0 - lost))[:, None] * x) + np.eye(len(d)) / tau**2
    return tests @ d, np.einsum("ij,ij->i", tests @ np.linalg.inv(hessian), tests)


def test_margins_are_those_of_the_direction_itself():
    prefs, rng, tau = problem(), np.random.default_rng(1), 1.3
    direction = rng.normal(size=prefs.dim).astype(np.float32)
    margins = FullRankPredictor(direction, tau).adapted(prefs, prefs)
    x = differences(prefs)
    for user in range(prefs.num_users):
        mine = prefs.user == user
        offset, weight = x[mine] @ direction, prefs.pair_weight[mine]
        mean, variance = by_scipy(x[mine], offset, weight, tau, x[mine])
        np.testing.assert_allclose(margins.mean[mine], offset + mean, atol=5e-3)
        np.testing.assert_allclose(margins.variance[mine], variance, rtol=5e-3)


def test_users_without_shots_are_the_population_and_few_at_a_time_are_the_same(monkeypatch):
    prefs, direction = problem(), np.ones(6, np.float32)
    predictor = FullRankPredictor(direction, 1.0)
    nobody = predictor.adapted(prefs.take_pairs(np.zeros(prefs.num_pairs, bool)), prefs)
    np.testing.assert_allclose(nobody.mean, differences(prefs) @ direction, atol=1e-4)
    together = predictor.adapted(prefs, prefs)
    monkeypatch.setattr(full_rank_predictor, "_ROWS_AT_A_TIME", 32)
    np.testing.assert_allclose(predictor.adapted(prefs, prefs).mean, together.mean, atol=1e-4)
