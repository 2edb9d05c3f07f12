"""Runs what the pages show, as a reader would: python docs/run_page.py PAGE ...

The Python blocks of a page are one program, its shell blocks (`bash`) run between them in the same
empty folder, with the commands of this Python's environment. A block behind the line
`<!-- shown -->` is for reading: it needs files, machines or minutes that a reader has.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_BLOCK = re.compile(r"(<!-- shown -->\n+)?```(python|bash)\n(.*?)```", re.DOTALL)


def run_page(page: Path) -> int:
    """Runs a page's blocks in an empty folder; how many there were.

    Raises:
        Exception: what a block raised, with the page's name and the block's line beside it.
    """
    text = page.read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "__main__"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    count = 0
    for block in _BLOCK.finditer(text):
        shown, language, code = block.groups()
        if shown:
            continue
        count += 1
        line = text[: block.start()].count("\n") + 1
        try:
            if language == "python":
                exec(compile("\n" * line + code, str(page), "exec"), names)
            else:
                command = ["bash", "-euo", "pipefail", "-c", code]
                subprocess.run(command, env={**os.environ, "PATH": path}, check=True)
        except Exception as error:
            error.add_note(f"{page}, the block at line {line}")
            raise
    return count


def main(pages: list[str]) -> None:
    """Runs each page in a folder of its own."""
    for page in map(Path, pages):
        where, page = Path.cwd(), page.resolve()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                count = run_page(page)
            finally:
                os.chdir(where)
        print(f"{page.name}: {count} blocks ran", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
