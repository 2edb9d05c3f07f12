import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.methods.simplex.anchor import anchor_penalty, anchor_schedule
from lore_jax.solvers.likelihood import bradley_terry_loss, per_user_mean_weights


def test_bradley_terry_against_float64():
    margin = np.linspace(-200, 200, 4001)
    expected = np.log1p(np.exp(-np.abs(margin))) + np.maximum(-margin, 0.0)
    np.testing.assert_allclose(
        bradley_terry_loss(jnp.asarray(margin, jnp.float32)), expected, rtol=1e-6, atol=1e-7
    )


def test_bradley_terry_is_finite_where_the_logarithm_of_a_sigmoid_is_not():
    assert float(bradley_terry_loss(jnp.array(-1e6))) == 1e6
    assert float(bradley_terry_loss(jnp.array(1e6))) == 0.0
    assert float(jax.grad(bradley_terry_loss)(jnp.array(-1e6))) == -1.0
    assert np.isnan(bradley_terry_loss(jnp.array(jnp.nan)))


def test_its_gradient_against_differences():
    for margin in (-3.0, -0.1, 0.0, 2.0):
        exact = float(jax.grad(bradley_terry_loss)(jnp.array(margin)))
        log = np.logaddexp(0.0, [-(margin + 1e-5), -(margin - 1e-5)])
        assert exact == pytest.approx((log[0] - log[1]) / 2e-5, abs=1e-6)


def test_per_user_mean_weights_against_a_loop():
    rng = np.random.default_rng(0)
    user = np.sort(rng.integers(7, size=50))
    user = user[user != 3]  # a user without pairs
    weight = rng.random(len(user)).astype(np.float32)
    weight[user == 5] = 0.0  # a user whose pairs do not count
    losses = rng.random(len(user))
    found = np.sum(
        losses * np.asarray(per_user_mean_weights(jnp.array(user), jnp.array(weight), 8))
    )
    means = [
        np.average(losses[user == u], weights=weight[user == u])
        for u in range(8)
        if weight[user == u].sum() > 0
    ]
    assert found == pytest.approx(sum(means), rel=1e-6)


def test_the_anchor_against_numpy():
    rng = np.random.default_rng(1)
    directions, head = rng.standard_normal((6, 3)), rng.standard_normal(6)
    cosines = [
        column @ head / np.linalg.norm(column) / np.linalg.norm(head) for column in directions.T
    ]
    found = anchor_penalty(jnp.asarray(directions, jnp.float32), jnp.asarray(head, jnp.float32))
    assert float(found) == pytest.approx(1.0 - np.mean(cosines), abs=1e-6)
    assert float(
        anchor_penalty(3.0 * head[:, None] * jnp.ones((1, 4)), jnp.asarray(head))
    ) == pytest.approx(0, abs=1e-6)


def test_the_anchor_depends_on_angles_alone():
    rng = np.random.default_rng(2)
    directions, head = jnp.asarray(rng.standard_normal((6, 3))), jnp.asarray(rng.standard_normal(6))
    scaled = anchor_penalty(directions * jnp.array([1e-3, 1.0, 1e4])[None], 50.0 * head)
    assert float(scaled) == pytest.approx(float(anchor_penalty(directions, head)), abs=1e-6)


def test_a_column_of_zeros_costs_one_and_is_pulled_nowhere():
    directions = jnp.eye(4)[:, :2].at[:, 1].set(0.0)
    value, gradient = jax.value_and_grad(anchor_penalty)(directions, jnp.eye(4)[0])
    assert float(value) == 0.5
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[:, 1] == 0).all()


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0), (19, 0), (20, 0), (35, 0.25), (50, 0.5), (80, 1), (99, 1)]
)
def test_the_schedule(step, share):
    assert float(anchor_schedule(jnp.array(step), 100)) == pytest.approx(share, abs=1e-6)
