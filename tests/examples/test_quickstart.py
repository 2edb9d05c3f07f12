"""The notebook runs from the first cell to the last, and prints what it promises."""

import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The notebook runs in a process of its own; warnings of its machinery are not ours.
pytestmark = pytest.mark.filterwarnings("default")


def printed(notebook):
    """What the cells print."""
    outputs = [x for cell in notebook.cells for x in cell.get("outputs", [])]
    return "".join(x["text"] for x in outputs if x.get("name") == "stdout")


def test_the_notebook_runs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    shown = printed(notebook)
    assert "the loaded model scores alike: True" in shown, "the notebook is kept with its outputs"
    client = nbclient.NotebookClient(
        notebook,
        timeout=200,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.km = client.create_kernel_manager()
    client.km.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    client.execute()
    text = printed(notebook)
    assert len(text.splitlines()) == len(shown.splitlines())
    accuracy = [int(percent) for percent in re.findall(r"comparisons each: (\d+) %", text)]
    assert accuracy[2] > accuracy[0] + 10
    assert re.search(r"\d+ users, all solved: True", text)
    assert "the loaded model scores alike: True" in text
    agreement = re.search(r"tells (\d+) % of them apart", text)
    assert agreement is not None
    assert int(agreement[1]) > 80
