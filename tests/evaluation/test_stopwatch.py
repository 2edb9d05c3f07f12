"""Seconds without compiling; unions of spans against counting on a fine grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.evaluation import stopwatch
from lore_jax.evaluation.stopwatch import Stopwatch, length_of_union, milliseconds


@pytest.mark.parametrize("seed", range(3))
def test_unions_against_a_grid(seed):
    ends = np.sort(np.random.default_rng(seed).integers(0, 100, size=(8, 2)), axis=1)
    covered = np.zeros(100, bool)
    for begun, ended in ends:
        covered[begun:ended] = True
    assert length_of_union([(float(a), float(b)) for a, b in ends]) == covered.sum()


def test_compiling_is_told_apart(monkeypatch):
    program = jax.jit(lambda x: jnp.sin(x) @ x.T)
    with Stopwatch() as first:
        program(jnp.ones((5, 3))).block_until_ready()
    assert first.compile_seconds > 0
    with Stopwatch() as again:
        program(jnp.ones((5, 3))).block_until_ready()
    assert again.compile_seconds == 0
    assert again.seconds > 0


def test_what_was_compiled_is_part_of_the_time(monkeypatch):
    clock = iter([10.0, 12.0, 13.0, 20.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))
    with Stopwatch() as watch:
        stopwatch._heard("/jax/core/compile/backend_compile_duration", 1.5)
        stopwatch._heard("/jax/core/compile/jaxpr_trace_duration", 2.0)
        stopwatch._heard("/jax/other", 9.0)
    assert (watch.compile_seconds, watch.seconds) == (2.5, 7.5)
    assert not stopwatch._running


def test_the_median_of_calls_after_the_first(monkeypatch):
    calls, clock = [], iter([0.0, 0.003, 1.0, 1.001, 2.0, 2.002])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))
    assert milliseconds(lambda: calls.append(1)) == pytest.approx(2.0)
    assert len(calls) == 4


def test_slow_work_is_timed_once(monkeypatch):
    calls, clock = [], iter([0.0, 5.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))
    assert milliseconds(lambda: calls.append(1)) == 5000.0
    assert len(calls) == 2
