"""The most memory that this process has held, for the experiments that measure themselves in a
process of their own.
"""

from __future__ import annotations

import re
from pathlib import Path


def peak_memory() -> int:
    """Bytes, on Linux.

    Not `getrusage`: what that counts begins with the process which started this one.
    """
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])
