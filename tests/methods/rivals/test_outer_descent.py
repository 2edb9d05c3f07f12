"""A step is Adam's along the gradient of the outer loss, with a support of its own."""

import jax
import jax.numpy as jnp
import numpy as np
from joint_fit import problem

from lore_jax.methods.rivals.outer_descent import STEPS, first_state, outer_step
from lore_jax.methods.rivals.outer_loss import MetaHyper, draw_support, outer_loss
from lore_jax.parallel.devices import over_shards, place, total

HYPER = MetaHyper(jnp.array([1.0, 1.0, 0.0]), jnp.float32(0.7))


def test_a_step_descends_the_loss_of_its_own_support():
    data, _ = place(problem(dim=3), 1.0)

    def run(_, data, hyper):
        state = first_state(data, hyper, 0.02, key=jax.random.key(0))
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), 0)
        gradient = jax.grad(outer_loss)(state.meta, data, hyper, draw_support(data, key))
        return state, total(gradient), outer_step(state, data, hyper, 0.02)

    found = over_shards(run, donate=False)(jnp.zeros(1), data, HYPER)
    state, gradient, (after, info) = jax.tree.map(lambda leaf: np.asarray(leaf[0]), found)
    for name in ("rewards", "start", "log_rate"):
        before, slope = getattr(state.meta, name), getattr(gradient, name)
        used = np.abs(slope) > 1e-5  # Adam's first step is the sign of the gradient
        assert used.any()
        np.testing.assert_allclose(
            getattr(after.meta, name)[used], (before - 0.02 * np.sign(slope))[used], atol=1e-4
        )
    assert not state.meta.rewards[:, 2].any()  # the column out of use stays where it is
    assert not after.meta.rewards[:, 2].any()
    assert after.count == 1
    assert info.loss > 0
    assert after.snapshots.rewards.shape == (len(STEPS), 3, 3)
