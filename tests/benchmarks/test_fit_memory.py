"""The memory of a fit, measured with --smoke in a process of its own."""

import json

import pytest

from benchmarks import fit_memory
from benchmarks.peak_memory import peak_memory


@pytest.mark.skipif(not fit_memory.Path("/proc/self/status").exists(), reason="Linux counts")
@pytest.mark.parametrize("method", ["simplex", "gaussian"])
def test_fit_memory(method, capsys):
    result = fit_memory.main(["--smoke", "--method", method])
    assert json.loads(capsys.readouterr().out) == result
    assert result["method"] == method
    assert result["pairs"] == 100 * 940
    assert result["runtime_MB"] <= result["loaded_MB"] <= result["started_MB"] <= result["peak_MB"]
    assert result["within_bound"] == (result["peak_MB"] <= result["bound_MB"])
    assert peak_memory() > 1e6
