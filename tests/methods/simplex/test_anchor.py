"""The anchor against NumPy, what it depends on, and when it is in force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.methods.simplex.anchor import anchor_penalty, anchor_schedule


def test_the_anchor_against_numpy():
    rng = np.random.default_rng(1)
    directions, head = rng.standard_normal((6, 3)), rng.standard_normal(6)
    cosines = [
        column @ head / np.linalg.norm(column) / np.linalg.norm(head) for column in directions.T
    ]
    penalty = anchor_penalty(jnp.asarray(directions, jnp.float32), jnp.asarray(head, jnp.float32))
    assert float(penalty) == pytest.approx(1.0 - np.mean(cosines), abs=1e-6)
    along = anchor_penalty(3.0 * head[:, None] * jnp.ones((1, 4)), jnp.asarray(head))
    assert float(along) == pytest.approx(0, abs=1e-6)


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
