"""The notebook runs from the first cell to the last, and prints what it promises."""

import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The notebook runs in a process of its own; warnings of its machinery are not ours.
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
    text = "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.get("outputs", [])
    )
    accuracy = [int(percent) for percent in re.findall(r"comparisons each: (\d+) %", text)]
    assert accuracy[2] > accuracy[0] + 10
    assert re.search(r"\d+ users, all solved: True", text)
    assert "the loaded model scores alike: True" in text
    agreement = re.search(r"tells (\d+) % of them apart", text)
    assert agreement is not None
    assert int(agreement[1]) > 80
