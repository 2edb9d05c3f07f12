"""The walk-through runs from the first cell to the last, and says what it promises."""

import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The notebook runs in a process of its own; what its machinery warns of here is not ours.
pytestmark = pytest.mark.filterwarnings("default")


def test_the_notebook_runs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    client = nbclient.NotebookClient(
        notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    client.km = client.create_kernel_manager()
    client.km.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    client.execute()
    said = "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.get("outputs", [])
    )
    accuracy = [int(found) for found in re.findall(r"comparisons each: (\d+) %", said)]
    assert accuracy[2] > accuracy[0] + 10
    assert re.search(r"\d+ users, all solved: True", said)
    assert "the loaded model says the same: True" in said
    told_apart = re.search(r"tells (\d+) % of them apart", said)
    assert told_apart is not None
    assert int(told_apart[1]) > 80
