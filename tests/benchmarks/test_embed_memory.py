"""The memory of embedding, measured with --smoke in processes of their own."""

import json

from benchmarks import embed_memory


def test_embed_memory(capsys):
    results = embed_memory.main(["--smoke"])
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == results
    assert [result["dtype"] for result in results] == ["bfloat16", "float32"]
    assert all(result["finite"] and result["within_2_GB"] for result in results)
