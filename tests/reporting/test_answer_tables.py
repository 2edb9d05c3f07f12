"""Tables of answers: a line for each kind, what is not known left empty."""

import numpy as np
import pytest
from answer_results import answer_results

from lore_jax.evaluation.results import Where
from lore_jax.reporting.answer_tables import answer_cells, answer_tables, condition_label
from lore_jax.reporting.sections.answers import answers


@pytest.fixture(scope="module")
def results():
    return answer_results()


def test_a_line_for_each_kind(results):
    (title, cells), *_ = answer_cells(results).items()
    assert title == "Unseen users after 20 answers, new prompts, by what was said"
    head, stars, everything = cells
    assert (stars[0], everything[0]) == ("ratings 1-5", "all answers")
    assert stars[head.index("saved, nats")].startswith("0.200 (")
    assert stars[head.index("accuracy, %")] == "40.0"
    assert everything[head.index("accuracy, %")] == ""
    assert "| ratings 1-5 |" in next(iter(answer_tables(results).values()))


def test_results_of_pairs_have_no_table(results):
    nothing = {name: value for name, value in results.items() if name != "answers"}
    assert answer_tables(nothing) == {}
    assert answers(nothing, "gaussian") == []


def test_labels():
    results = {"splits": [{"group_by": "response"}]}
    label = condition_label(Where("seen", "known items", shots=None), results)
    assert label == "Seen users after all their answers, known responses"


def test_the_section_escapes_and_folds_away(results):
    odd = {**results, "answers": [{**row, "kind": "<b>"} for row in results["answers"][:2]]}
    text = "".join(answers(odd, "gaussian"))
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "<details><summary>All measures of answers" in text
    assert np.all([word in text for word in ("Saved", "Uninformed", "Calibration")])
