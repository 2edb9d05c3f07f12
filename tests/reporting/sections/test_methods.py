"""Tables and curves of methods: everything the results have, in order of how hard it is."""

from lore_jax.evaluation.results import Where, select
from lore_jax.reporting.sections.methods import accuracy, calibration, curves


def test_methods_and_controls_are_named(results):
    text = "".join(accuracy(results, "personal", 8))
    assert "<tr class='main'><th>personal</th>" in text
    assert "each user scored with another user&#x27;s weights" in text
    assert "with user labels permuted" not in text
    (row, _) = select(results, Where(method="personal", control=None, shots=8))
    assert "All measures: unseen users, new responses, 8 shots" in text
    assert row["num_users"] > 0


def test_curves_and_calibration_need_unseen_users(results):
    assert sum(part.startswith("<figure>") for part in curves(results)) == 2
    assert len([part for part in calibration(results, 8) if part.startswith("<figure>")]) == 1
    seen = {**results, "rows": [{**row, "users": "seen"} for row in results["rows"]]}
    assert curves(seen) == calibration(seen, 8) == []
