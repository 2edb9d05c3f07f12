"""The programs of a fit against the method's own functions, one step after another."""

import jax
import jax.numpy as jnp
import numpy as np
from joint_fit import GIVEN, problem

from lore_jax.fitting.programs import first_state, learned, many_steps, one_step
from lore_jax.parallel.devices import place

DEVICES = tuple(jax.devices()[:1])


def begun():
    prefs = problem(users=12)
    data, _ = place(prefs, GIVEN.input_scale(prefs), DEVICES)
    stages = GIVEN.stages(prefs)
    (hyper,) = GIVEN.hypers(stages[0].choices({}), prefs)
    state = first_state(GIVEN, DEVICES)((), data, (hyper, jax.random.key_data(jax.random.key(3))))
    return state, data, hyper


def test_many_steps_are_as_many_single_ones_and_may_leave_the_first_state():
    state, data, hyper = begun()
    end, info = many_steps(GIVEN, 3, "jit", DEVICES, donate=False)(state, data, hyper)
    step = one_step(GIVEN, "jit", DEVICES)
    losses = []
    for _ in range(3):  # the first would have been given up by now
        state, of_step = step(state, data, hyper)
        losses.append(float(of_step.loss[0]))
    np.testing.assert_allclose(info.loss[0], losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), end, state)


def test_what_is_learned_is_of_the_last_state():
    state, data, hyper = begun()
    fitted = learned(GIVEN, DEVICES)(state, data, hyper)
    same = jnp.array_equal(fitted.params["basis"]["V"], state.params["basis"]["V"])
    assert bool(same)
