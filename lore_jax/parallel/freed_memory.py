"""Giving freed memory back to the system, where the C library would keep it.

Compiling the programs of a fit takes some 100 MB each, freed in pieces between what stays. The GNU
C library keeps such pieces for itself: two programs later they are most of what a fit holds beside
its data. It also has a heap for nearly every thread, from whose pieces no other thread is served:
the compiler's threads together hold twice to four times what they need.
"""

from __future__ import annotations

import ctypes
import os
import sys

_ARENA_MAX = -8  # M_ARENA_MAX of <malloc.h>


def give_back_freed_memory() -> bool:
    """Asks the C library for whole pages that nothing uses; takes milliseconds.

    Returns:
        Whether any were given back; False where the library has no word for it.

    Example:
        >>> give_back_freed_memory() in (True, False)
        True
    """
    return _of_library("malloc_trim", 0)


def share_heaps(count: int) -> bool:
    """Asks the C library for no more than so many heaps for threads that are yet to allocate.

    Where the environment says how many (`MALLOC_ARENA_MAX`), that holds.

    Args:
        count: how many; of as many as there are cores no thread waits for long.

    Returns:
        Whether it is so; False where the library has no word for it.

    Example:
        >>> share_heaps(2) in (True, False)
        True
    """
    return "MALLOC_ARENA_MAX" not in os.environ and _of_library("mallopt", _ARENA_MAX, count)


def _of_library(name: str, *arguments: int) -> bool:
    """What a function of the C library says of success; False where there is none."""
    if not sys.platform.startswith("linux"):
        return False
    function = getattr(ctypes.CDLL(None), name, None)  # GNU's; musl has none
    return function is not None and bool(function(*arguments))
