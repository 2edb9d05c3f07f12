"""The steps of a fit in memory: chunks of one size, all of them, and what is said of them."""

import types

import numpy as np
import pytest

from lore_jax.fitting import steps as module
from lore_jax.fitting.steps import take_steps
from lore_jax.methods.base import Info


class Counting:
    """A fit whose state is the number of steps taken."""

    def __init__(self, steps, num_minibatches=1):
        self.steps, self.sizes = steps, []
        self.method = types.SimpleNamespace(num_minibatches=num_minibatches)

    def advance(self, state, taken, count):
        assert state == taken
        self.sizes.append(count)
        loss = -np.arange(taken, taken + count, dtype=np.float32)
        return state + count, Info(loss, 2 * loss)


@pytest.mark.parametrize(
    ("steps", "minibatches", "sizes"),
    [
        (100, 1, [20] * 5),
        (20, 1, [20]),
        (25, 1, [25]),
        (7, 1, [7]),
        (0, 1, []),
        (90, 2, [40, 40, 10]),  # each step is a program of its own
    ],
)
def test_chunks_are_of_one_size_where_they_are_programs(steps, minibatches, sizes, monkeypatch):
    said = []
    monkeypatch.setattr(module.Progress, "stepped", lambda self, *done: said.append(done))
    running = Counting(steps, minibatches)
    state, info = take_steps(running, 0, progress=False)
    assert (state, running.sizes) == (steps, sizes)
    np.testing.assert_array_equal(info.loss, -np.arange(steps))
    np.testing.assert_array_equal(info.grad_norm, -2 * np.arange(steps))
    assert said == [(taken, steps) for taken in np.cumsum(sizes).tolist()]
