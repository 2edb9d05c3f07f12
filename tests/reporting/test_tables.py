"""Tables hold every method, its population and its controls."""

from scored import Scored
from synthetic_results import by_shots, preferences, split_entry

from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.results import Where, make_results, select
from lore_jax.reporting.tables import (
    four_way_columns,
    is_personal,
    measures_cells,
    method_lines,
    shots_columns,
    table,
)


def test_tables_hold_every_method_population_and_control():
    condition = Condition("unseen", "new items", preferences(0), preferences(1))
    methods = {
        "personal": Scored(by_shots),
        "same": Scored(lambda shots, test: by_shots(shots.take_pairs(shots.row < 0), test)),
    }
    rows = evaluate(methods, [condition], shots=(0, 3), seed=0)
    results = make_results(rows, [split_entry()], name="t", config={}, seed=0)
    assert is_personal(results, "personal")
    assert not is_personal(results, "same")
    text = table(results, method_lines(results), four_way_columns(results, shots=3))
    assert text.splitlines()[0].split("|")[2].strip() == "unseen users (3 shots), new prompts"
    labels = [line.split("|")[1].strip() for line in text.splitlines()[2:]]
    assert labels == [
        "personal, 0 shots (population)",
        "personal",
        "personal, another user's weights",
        "personal, weights of the user asked most alike",
        "same",
    ]
    accuracy = 100 * select(results, Where(method="personal", control=None, shots=3))[0]["accuracy"]
    assert text.splitlines()[3].split("|")[2].strip().startswith(f"{accuracy:.1f} (")
    assert list(shots_columns(results)) == ["0 shots", "3 shots"]
    cells = measures_cells(results, method_lines(results), Where("unseen", "new items", shots=3))
    assert [line[0] for line in cells[1:]] == labels
    assert cells[0][5:] == ["ECE (bias)", "gained, %", "lost, %"]
    assert cells[2][1] == f"{accuracy:.1f}"
