"""How many memory maps compiled programs take, and dropping them before there are no more.

A program that was compiled stays in memory, and shapes that occur once make programs that run once:
some 7,000 memory maps for two methods on a split of a Polis conversation. Linux allows a process
`vm.max_map_count` of them, 65,530 by default, and a compiler that gets no more ends the process. So
whoever goes on to other data or another method drops programs as soon as a third of the limit is in
use.
"""

from __future__ import annotations

import gc
from pathlib import Path

import jax

_MAPS = Path("/proc/self/maps")
_MAX_MAPS = Path("/proc/sys/vm/max_map_count")
_SHARE = 1 / 3  # of the limit: the largest piece of work needs another third


def drop_programs_if_many(share: float = _SHARE) -> bool:
    """Drops all compiled programs if this process uses much of its memory maps.

    Args:
        share: of the limit, from which on programs are dropped.

    Returns:
        Whether they were dropped; False where the system counts no maps.
    """
    if not (_MAPS.exists() and _MAX_MAPS.exists()):
        return False
    if num_maps() < share * int(_MAX_MAPS.read_text()):
        return False
    jax.clear_caches()
    gc.collect()
    return True


def num_maps() -> int:
    """The number of memory maps of this process, on Linux."""
    with open(_MAPS, "rb") as lines:
        return sum(1 for _ in lines)
