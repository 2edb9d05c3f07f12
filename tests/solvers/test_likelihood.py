"""Likelihoods: loss, slope and curvature are one function's; bounds bound; steps descend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit

from lore_jax.solvers.likelihood import LOGISTIC, Logistic, search_length, step_length

GRID = np.linspace(-40.0, 40.0, 801)


def in_float64(function, *arrays):
    """The function's own formulas in float64."""
    with jax.enable_x64(True):
        return np.asarray(function(*(jnp.asarray(array, jnp.float64) for array in arrays)))


def test_it_against_scipy():
    margin = np.linspace(-200, 200, 4001)
    single = jnp.asarray(margin, jnp.float32)
    lost = expit(-margin)
    for found, expected in (
        (LOGISTIC.loss(single), -log_expit(margin)),
        (LOGISTIC.slope(single), -lost),
        (LOGISTIC.curvature(single), lost * expit(margin)),
        (LOGISTIC.predictive(single, jnp.zeros_like(single)), log_expit(margin)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_it_is_finite_where_the_logarithm_of_a_sigmoid_is_not():
    assert float(LOGISTIC.loss(jnp.array(-1e6))) == 1e6
    assert float(LOGISTIC.loss(jnp.array(1e6))) == 0.0
    assert float(LOGISTIC.slope(jnp.array(-1e6))) == -1.0
    assert float(jax.grad(LOGISTIC.loss)(jnp.array(-1e6))) == -1.0
    assert float(LOGISTIC.predictive(jnp.array(-1e6), jnp.array(0.0))) == -1e6
    for function in (LOGISTIC.loss, LOGISTIC.slope, LOGISTIC.curvature):
        assert np.isnan(function(jnp.array(jnp.nan)))


def test_slope_and_curvature_are_derivatives_of_the_loss():
    step = 1e-5
    differences = [
        (in_float64(function, GRID + step) - in_float64(function, GRID - step)) / (2 * step)
        for function in (LOGISTIC.loss, LOGISTIC.slope)
    ]
    np.testing.assert_allclose(in_float64(LOGISTIC.slope, GRID), differences[0], atol=1e-9)
    np.testing.assert_allclose(in_float64(LOGISTIC.curvature, GRID), differences[1], atol=1e-9)
    traced = jax.vmap(jax.grad(LOGISTIC.loss))(jnp.asarray(GRID, jnp.float32))
    np.testing.assert_allclose(LOGISTIC.slope(jnp.asarray(GRID, jnp.float32)), traced, atol=1e-6)


def test_its_bounds_bound_and_are_tight():
    grid, step = np.linspace(-15.0, 15.0, 601), 1e-4  # further out `1 - s` has few digits left
    curvature = in_float64(LOGISTIC.curvature, grid)
    above, below = (in_float64(LOGISTIC.curvature, grid + sign * step) for sign in (1, -1))
    third = np.abs(above - below) / (2 * step)
    assert (third <= (1.0 + 1e-5) * LOGISTIC.concordance * curvature).all()
    assert (third / curvature)[[0, -1]] == pytest.approx(LOGISTIC.concordance, abs=1e-5)
    assert (curvature > 0).all()
    assert curvature.max() == pytest.approx(LOGISTIC.ceiling)


@pytest.mark.parametrize("variance", [0.0, 0.1, 1.0, 4.0, 25.0])
def test_the_predictive_against_quadrature(variance):
    node, weight = np.polynomial.hermite_e.hermegauss(80)
    mean = np.linspace(-6, 6, 25)
    exact = expit(mean[:, None] + np.sqrt(variance) * node) @ weight / np.sqrt(2 * np.pi)
    means, variances = jnp.asarray(mean, jnp.float32), jnp.full(25, variance, jnp.float32)
    found = np.exp(LOGISTIC.predictive(means, variances))
    # The approximation itself is off by up to .019; without variance it is exact.
    np.testing.assert_allclose(found, exact, atol=0.02 if variance else 1e-6)
    # The other choice has the rest of the probability.
    other = np.exp(LOGISTIC.predictive(-means, variances))
    np.testing.assert_allclose(found + other, 1.0, atol=1e-6)


def test_it_passes_through_jit_and_is_one_value():
    assert Logistic() == LOGISTIC
    assert hash(Logistic()) == hash(LOGISTIC)
    assert jax.tree.leaves(LOGISTIC) == []
    traced = jax.jit(lambda likelihood, margin: likelihood.loss(margin))(LOGISTIC, jnp.zeros(2))
    np.testing.assert_allclose(traced, np.log(2.0), rtol=1e-6)


class Bounded:
    """A likelihood of which the second derivative is bounded alone."""

    concordance, ceiling = None, 1.0


def test_a_short_step_is_taken_whole_and_a_long_one_in_part():
    move = jnp.array([1e-6, 0.5, 1.0, 1.5, 10.0, 1e6])
    length = np.asarray(step_length(LOGISTIC, move, jnp.ones(6)))
    np.testing.assert_array_equal(length[:3], 1.0)
    expected = np.log1p([1.5, 10.0, 1e6]) / [1.5, 10.0, 1e6]
    np.testing.assert_allclose(length[3:], expected, rtol=1e-5)
    safe = jnp.array([0.25, 0.5, 1.0, 3.0])
    np.testing.assert_array_equal(step_length(Bounded, 1e3 * jnp.ones(4), safe), [0.25, 0.5, 1, 1])


@pytest.mark.parametrize("bounds", [LOGISTIC, Bounded], ids=["concordant", "ceiling"])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_part_taken_decreases_the_objective_from_anywhere(bounds, scale):
    # One pair and a weak prior in one dimension: the full step overshoots far.
    ridge, start = 1e-3, np.linspace(-8, 8, 33)
    slope = -scale * expit(-scale * start) + ridge * start
    curvature = scale**2 * expit(-scale * start) * expit(scale * start) + ridge
    towards = -slope / curvature
    parabola = LOGISTIC.ceiling * (scale * towards) ** 2 + ridge * towards**2
    squared = slope**2 / curvature
    move = jnp.asarray(np.abs(scale * towards), jnp.float32)
    if bounds is Bounded:
        bounds = type("Quarter", (), {"concordance": None, "ceiling": LOGISTIC.ceiling})
    length = np.asarray(step_length(bounds, move, jnp.asarray(squared / parabola, jnp.float32)))
    assert ((length > 0) & (length <= 1)).all()

    def objective(value):
        return -log_expit(scale * value) + ridge * value**2 / 2

    gained = objective(start) - objective(start + length * towards)
    assert (gained >= -1e-9).all()
    far = squared > 1e-3
    assert (gained[far] > 0).all()


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_part_searched_gives_half_of_what_the_direction_has(scale):
    ridge, start = 1e-3, np.linspace(-8, 8, 33)

    def slope_at(value):
        return -scale * expit(-scale * value) + ridge * value

    def objective(value):
        return -log_expit(scale * value) + ridge * value**2 / 2

    curvature = scale**2 * expit(-scale * start) * expit(scale * start) + ridge
    towards = -slope_at(start) / curvature
    squared = slope_at(start) ** 2 / curvature
    safe = squared / ((LOGISTIC.ceiling * scale**2 + ridge) * towards**2)

    def relative(share):
        return slope_at(start + np.asarray(share, np.float64) * towards) * towards / squared

    with jax.enable_x64(True), jax.disable_jit():
        length = np.asarray(
            search_length(lambda share: jnp.asarray(relative(share)), jnp.asarray(safe))
        )
    assert ((length > 0) & (length <= 1)).all()
    shares = np.linspace(0, 1, 2001)[:, None]
    best = objective(start) - objective(start + shares * towards).min(axis=0)
    gained = objective(start) - objective(start + length * towards)
    sure = objective(start) - objective(start + np.minimum(safe, 1.0) * towards)
    # Where 1/64 of the step is still too long, it is what the parabola is sure of.
    assert (gained >= np.minimum(0.5 * best, 0.5 * sure) - 1e-9).all()
    close = length > 1 / 64
    assert close.mean() > 0.5
    assert (gained >= 0.25 * best - 1e-9)[close].all()


def test_near_its_end_a_step_that_overshoots_by_little_is_taken_whole():
    def overshooting(by):
        return search_length(lambda share: share * (1 + by) - 1, jnp.float32(0.3))

    assert float(overshooting(-0.5)) == 1.0  # it still falls
    assert float(overshooting(0.01)) == 1.0
    assert float(overshooting(0.5)) == 0.5
    assert float(overshooting(3.0)) == pytest.approx(0.3)  # more is sure than 1/4
    steep = search_length(lambda share: 1e6 * share - 1, jnp.float32(1e-6))
    assert float(steep) == pytest.approx(1e-6)
