"""The most memory that a process has held, for measurements in a process of their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def peak_memory() -> int:
    """Bytes, on Linux.

    Not `getrusage`: what that counts begins with the process which started this one.
    """
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


def json_of_child(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Runs a module in a process of its own; the last line that it prints is JSON."""
    command = [sys.executable, "-m", module, *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])
