"""A scale of ratings of a user's own: its Newton method, and the experiment in --smoke mode."""

import numpy as np
import pytest
import scipy.optimize

from experiments import rating_scale
from experiments.rating_scale import CUTS, K, draw, losses, posterior


@pytest.fixture(scope="module")
def ratings():
    rng = np.random.default_rng(0)
    d, b, s = rng.normal(size=(6, K)), rng.normal(size=6), np.exp(0.4 * rng.normal(size=6))
    drawn = draw(rng, d, b, s, 12)
    drawn.level[0], drawn.level[1] = 0, 2  # users of one level only, an end and a middle
    return drawn


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_gradient_and_curvature_are_those_of_differences(ratings, spread):
    rng = np.random.default_rng(1)
    x, way = 0.3 * rng.normal(size=(2, 6, K + 1 + (spread > 0)))
    ends = [losses(x + sign * 1e-5 * way, ratings, spread) for sign in (1, -1)]
    here = losses(x, ratings, spread)
    slope = np.sum(here.gradient * way, axis=1)
    np.testing.assert_allclose(slope, (ends[0].value - ends[1].value) / 2e-5, rtol=1e-6, atol=1e-6)
    curved = np.einsum("ukj,uj->uk", here.hessian, way)
    numeric = (ends[0].gradient - ends[1].gradient) / 2e-5
    np.testing.assert_allclose(curved, numeric, rtol=1e-6, atol=1e-6)


def test_the_mode_is_scipys_and_users_of_one_level_are_finite(ratings):
    x, covariance = posterior(ratings, 0.4)
    for user in range(6):
        own = type(ratings)(*[values[user : user + 1] for values in ratings])
        found = scipy.optimize.minimize(
            lambda at, own=own: losses(at[None], own, 0.4).value[0],
            np.zeros(K + 2),
            jac=lambda at, own=own: losses(at[None], own, 0.4).gradient[0],
            method="BFGS",
            options={"gtol": 1e-8},
        )
        np.testing.assert_allclose(x[user], found.x, atol=1e-4)
    assert np.isfinite(covariance).all()
    assert (np.diff(CUTS) > 0).all()


def test_rating_scale(tmp_path):
    result = rating_scale.run(rating_scale.Config(out=tmp_path / "run", smoke=True))
    for row in result["log s has sd 0.6"].values():
        assert row["own scale too"]["log_loss"] < row["intercept alone"]["log_loss"] + 0.05
        assert 0.5 < row["own scale too"]["right"] < 1.0
