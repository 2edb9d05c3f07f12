"""Seconds of work with compilation apart.

What XLA compiles for a shape is kept (in memory, and on disk for the next process), so the first
call's time says little about the next one's. JAX reports how long each program took to trace, to
lower and to compile. These spans may overlap, as programs are traced within others and on several
threads: their union on the clock is what compiling took, and the rest is work.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from jax import monitoring

_COMPILING = "/jax/core/compile/"  # how the names of these events begin

_running: list[Stopwatch] = []


class Stopwatch:
    """Counts the seconds in a `with` block.

    Attributes:
        seconds: on the clock, without those in which something was compiled.
        compile_seconds: in which something was traced, lowered or compiled.

    Example:
        >>> with Stopwatch() as watch:
        ...     total = jax.jit(jnp.sum)(jnp.ones(3))
        >>> watch.seconds >= 0 and watch.compile_seconds >= 0
        True
    """

    def __init__(self) -> None:
        self.seconds = self.compile_seconds = 0.0
        self._spans: list[tuple[float, float]] = []
        self._begun = 0.0

    def __enter__(self) -> Stopwatch:
        _listen()
        self._begun = time.perf_counter()
        _running.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _running.remove(self)
        elapsed = time.perf_counter() - self._begun
        spans = [(max(begun, self._begun), ended) for begun, ended in self._spans]
        self.compile_seconds = min(length_of_union(spans), elapsed)
        self.seconds = elapsed - self.compile_seconds

    def note(self, ended: float, duration: float) -> None:
        """Something was compiled, as JAX says."""
        self._spans.append((ended - duration, ended))


@functools.cache
def _listen() -> None:
    """JAX keeps its listeners: one serves all stopwatches."""
    monitoring.register_event_duration_secs_listener(_heard)


def _heard(event: str, duration_secs: float, **_: str | int) -> None:
    if event.startswith(_COMPILING):
        for watch in list(_running):
            watch.note(time.perf_counter(), duration_secs)


def length_of_union(spans: Sequence[tuple[float, float]]) -> float:
    """How much of the line some spans cover together.

    Example:
        >>> length_of_union([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)])
        4.0
    """
    total, reached = 0.0, float("-inf")
    for begun, ended in sorted(spans):
        total += max(0.0, ended - max(begun, reached))
        reached = max(reached, ended)
    return total


def milliseconds(work: Callable[[], object], *, repeats: int = 3, enough: float = 2.0) -> float:
    """The median time of some work, after a first call that compiles.

    Args:
        work: is done when it returns.
        repeats: how many calls are timed.
        enough: seconds after which no further call is timed.

    Returns:
        Milliseconds.

    Example:
        >>> milliseconds(lambda: None) < 1000.0
        True
    """
    work()
    taken: list[float] = []
    while len(taken) < repeats and sum(taken) < enough:
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return 1000.0 * sorted(taken)[len(taken) // 2]
