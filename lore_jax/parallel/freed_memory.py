"""Giving freed memory back to the system, where the C library would keep it.

Compiling the programs of a fit takes some 100 MB each, freed in pieces between what stays. The GNU
C library keeps such pieces for itself: two programs later they are most of what a fit holds beside
its data.
"""

from __future__ import annotations

import ctypes
import sys


def give_back_freed_memory() -> bool:
    """Asks the C library for whole pages that nothing uses; takes milliseconds.

    Returns:
        Whether any were given back; False where the library has no word for it.

    Example:
        >>> give_back_freed_memory() in (True, False)
        True
    """
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # GNU's; musl has none
    return trim is not None and bool(trim(0))
