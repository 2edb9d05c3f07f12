"""The benchmark runs with --smoke, and its rows say what they measure."""

import json

from benchmarks import throughput


def test_throughput(tmp_path, capsys):
    sections = ["fit", "distinct", "choose", "growth", "adapt", "users", "score"]
    sections += ["ask", "session", "memory"]
    result = throughput.main(["--out", str(tmp_path), "--smoke", "--only", *sections])
    assert json.loads((tmp_path / "throughput.json").read_text()) == json.loads(json.dumps(result))
    assert (tmp_path / "throughput.md").read_text().strip() in capsys.readouterr().out
    assert [
        name for name in sections if any(row["section"] == name for row in result["rows"])
    ] == sections
    for row in result["rows"]:
        assert {"section", "work", "method", "note"} <= set(row)
        assert row.get("seconds", row.get("bytes", 0)) > 0
        is_fit = row["section"] in ("fit", "distinct") and row["method"].startswith("lore_jax")
        assert ("% of 40 further choices right" in row["note"]) == is_fit
    ours = [
        row for row in result["rows"] if row["method"].startswith("lore_jax") and "seconds" in row
    ]
    assert {row["section"] for row in ours if row["ratio"] == 1.0} == set(sections) - {"memory"}
