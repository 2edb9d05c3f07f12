"""The benchmark of merging adapters, with --smoke."""

import json

from benchmarks import merge


def test_merge(capsys):
    result = merge.main(["--smoke"])
    assert json.loads(capsys.readouterr().out) == result
    for method in ("linear", "cat", "svd"):
        assert result[method]["in memory"] > 0
        assert result[method]["written"] > 0
    assert result["cat"]["error"] == 0.0
    assert result["linear"]["error"] > 0.1
    assert result["cat"]["bytes a user"] == 3 * result["linear"]["bytes a user"]
