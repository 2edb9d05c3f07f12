"""Which of Orbax' lines and errors come through."""

import errno
import logging
import os
import sys

import pytest

from lore_jax.storage.checkpoint.orbax_noise import (
    _no_failed_write,
    disk_error,
    without_chatter,
    without_tracebacks,
)


def test_opening_is_silent_but_for_errors(caplog):
    logger = logging.getLogger("absl")
    with without_chatter():
        logger.warning("read only")
        logger.error("broken")
    logger.warning("afterwards")
    assert caplog.messages == ["broken", "afterwards"]


def test_the_threads_of_a_save_are_silent(caplog):
    logger, hook = logging.getLogger("absl"), sys.unraisablehook
    with without_tracebacks():
        logger.error("_SignalingThread failed")
        logger.error("another")
    assert caplog.messages == ["another"]
    assert sys.unraisablehook is hook


def test_other_writes_that_a_disk_refused_are_silent_from_then_on(caplog):
    logger, hook = logging.getLogger("asyncio"), sys.unraisablehook

    def never_retrieved(error):
        logger.error("Task exception was never retrieved", exc_info=error)

    def save():
        with without_tracebacks():
            never_retrieved(full)
            never_retrieved(other)
            raise full

    full, other = ValueError(f"OUT_OF_RANGE: {os.strerror(errno.EFBIG)}"), ValueError("other")
    try:
        with pytest.raises(ValueError, match="OUT_OF_RANGE"):
            save()
        with without_tracebacks():
            pass
        never_retrieved(full)
        assert len(caplog.messages) == 1  # the other's
    finally:
        sys.unraisablehook = hook
        logger.removeFilter(_no_failed_write)
    with without_tracebacks():
        never_retrieved(full)
    never_retrieved(full)
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EACCES, "no"), errno.EACCES),
        (ValueError(f"OUT_OF_RANGE: {os.strerror(errno.ENOSPC)}"), errno.ENOSPC),
        (ValueError("something else"), None),
    ],
)
def test_the_disk_is_told_from_other_errors(error, number):
    assert disk_error(error) == number
