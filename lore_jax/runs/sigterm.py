"""SIGTERM, which comes before a preemption: a run ends where nothing is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax


class StoppedEarlyError(Exception):
    """SIGTERM came before a run began: nothing is kept, and the same call begins again."""


class Stop(threading.Event):
    """Set by SIGTERM; `waits` once the fit looks at it between chunks and keeps what is done."""

    waits = False

    def hear(self, *_: object) -> None:
        """What the signal calls."""
        self.set()
        # Processes that fit together stop together, where all of them look.
        if not self.waits and jax.process_count() == 1:
            raise StoppedEarlyError("SIGTERM came before the fit began: nothing is kept")


@contextlib.contextmanager
def hear_sigterm() -> Iterator[Stop]:
    """Stops the run at SIGTERM instead of dying; signals are the main thread's alone."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, stop.hear)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
