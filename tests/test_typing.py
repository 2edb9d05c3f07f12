"""Editors and type checkers see the real type of every public name."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lore_jax as lore

ROOT = Path(__file__).parents[1]


def revealed_types(folder, names):
    """The type of each `lore.NAME` by pyright, which runs once; skips where pyright cannot run."""
    lines = ["import lore_jax as lore", *(f"reveal_type(lore.{name})" for name in names)]
    (folder / "revealed.py").write_text("\n".join(lines) + "\n")
    config = folder / "pyrightconfig.json"
    config.write_text(json.dumps({"include": ["revealed.py"], "extraPaths": [str(ROOT)]}))
    command = ["-m", "pyright", "--outputjson", "--project", str(config)]
    result = subprocess.run(
        [sys.executable, *command, "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        timeout=250,
    )
    try:
        diagnostics = json.loads(result.stdout)["generalDiagnostics"]
    except (ValueError, KeyError):
        pytest.skip(f"pyright cannot run here: {result.stderr.strip()[-200:]}")
    assert {row["severity"] for row in diagnostics} == {"information"}, diagnostics
    matches = (
        re.match(r'Type of "lore\.(\w+)" is "(.*)"', row["message"], re.DOTALL)
        for row in diagnostics
    )
    return {match[1]: match[2] for match in matches if match}


def test_every_public_name_resolves_to_its_real_type(tmp_path):
    names = [*lore.__all__, "__version__"]
    types = revealed_types(tmp_path, names)
    assert types.keys() == set(names)
    assert types["__version__"] == "str"
    assert types["Preferences"] == "type[Preferences]"
    unresolved = {name: text for name, text in types.items() if re.search("Unknown|^Any$", text)}
    assert not unresolved
