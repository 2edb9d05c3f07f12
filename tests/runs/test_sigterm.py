"""SIGTERM is kept until it is looked at, once the fit does; before that it ends the run."""

import os
import signal

import pytest

from lore_jax.runs.sigterm import StoppedEarlyError, hear_sigterm


def test_it_waits_to_be_looked_at():
    before = signal.getsignal(signal.SIGTERM)
    with hear_sigterm() as stop:
        stop.waits = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_set()
    assert signal.getsignal(signal.SIGTERM) == before


def test_before_the_fit_begins_it_ends_the_run():
    with pytest.raises(StoppedEarlyError, match="nothing is kept"), hear_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
