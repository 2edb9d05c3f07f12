"""How it was made: what the results say of splits, machine and configuration."""

from lore_jax.reporting.sections.provenance import provenance


def test_splits_machine_and_run(results):
    data = {"cache": "c", "encoder": {"model": "<e>"}, "responses": 20, "dim": 3}
    data |= {"dtype": "float32", "pairs": 1234, "users": 15}
    made = {**results, "run": {"data": data, "choice": {"ridge": 0.5}}}
    text = "".join(provenance(made))
    assert "Splits (2)" in text
    assert "&lt;e&gt;" in text
    assert "1,234 by 15 users" in text
    assert "ridge 0.5" in text
    assert results["machine"]["python"] in text
