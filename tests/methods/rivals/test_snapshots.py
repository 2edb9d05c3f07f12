"""Snapshots of a loop are what it was after the steps asked for."""

import jax.numpy as jnp
import numpy as np

from lore_jax.methods.rivals.snapshots import first_snapshots, with_snapshot


def test_each_stop_is_kept_once():
    now, stops = {"a": jnp.zeros(2), "b": jnp.zeros(())}, (2, 5, 9)
    kept = first_snapshots(now, stops)
    for count in range(1, 7):
        now = {"a": now["a"] + 1.0, "b": now["b"] - 1.0}
        kept = with_snapshot(kept, now, jnp.asarray(count), stops)
    np.testing.assert_array_equal(kept["a"], [[2.0, 2.0], [5.0, 5.0], [0.0, 0.0]])
    np.testing.assert_array_equal(kept["b"], [-2.0, -5.0, 0.0])
