"""How much memory this process may still take, so that a larger table is left on disk."""

from __future__ import annotations

import re
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_LIMITS = Path("/proc/self/limits")
# Of a container, under the two versions of control groups: the limit, and what counts so far.
_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def available_memory() -> float:
    """Bytes: what the system has left, or a limit of the process (`ulimit -d`) or its container.

    Returns:
        Infinity where the system does not say.

    Example:
        >>> available_memory() > 0
        True
    """
    left = [float("inf")]
    if _MEMINFO.exists():
        left.append(_kilobytes(_MEMINFO, "MemAvailable"))
    limits = _LIMITS.read_text() if _STATUS.exists() and _LIMITS.exists() else ""
    if limit := re.search(r"^Max data size +(\d+) ", limits, re.MULTILINE):
        left.append(int(limit[1]) - _kilobytes(_STATUS, "VmData"))
    for most, used in _GROUPS:
        if most.exists() and used.exists() and most.read_text().strip().isdigit():
            left.append(int(most.read_text()) - int(used.read_text()))
    return max(0.0, min(left))


def _kilobytes(file: Path, name: str) -> float:
    """A line such as `MemAvailable:  1024 kB`, in bytes; infinity if there is none."""
    found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    return 1024.0 * int(found[1]) if found else float("inf")
