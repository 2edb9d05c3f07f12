"""What Orbax says on stderr and in its errors, brought down to what its user can act upon."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Opening for reading logs three warnings that say that it is for reading."""

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger = logging.getLogger("absl")
    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)


@contextlib.contextmanager
def without_tracebacks() -> Iterator[None]:
    """An error of saving is raised; Orbax' threads print it too, once each, with tracebacks."""
    logger, before = logging.getLogger("absl"), sys.unraisablehook
    tasks = logging.getLogger("asyncio")
    is_first = _no_failed_write not in tasks.filters

    def is_ours(record: logging.LogRecord) -> bool:
        return "_SignalingThread" not in record.getMessage()

    def unraisable(unraised: UnraisableHookArgs) -> None:
        # Writes that end after the first that failed find their event loop gone.
        if "Event loop is closed" not in str(unraised.exc_value):
            before(unraised)

    logger.addFilter(is_ours)
    tasks.addFilter(_no_failed_write)
    sys.unraisablehook = unraisable
    try:
        yield
        # After an error these stay: other writes end, or are found to have failed, at any time.
        sys.unraisablehook = before
        if is_first:
            tasks.removeFilter(_no_failed_write)
    finally:
        logger.removeFilter(is_ours)


def _no_failed_write(record: logging.LogRecord) -> bool:
    """Of several writes that a disk refuses one is raised; nobody asks about the others."""
    error = record.exc_info[1] if record.exc_info else None
    return error is None or disk_error(error) is None


def disk_error(error: BaseException) -> int | None:
    """The errno of a refusing disk; tensorstore raises ValueError with the system's text in it."""
    if isinstance(error, OSError):
        return error.errno
    known = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
    return next((number for number in known if os.strerror(number) in str(error)), None)
