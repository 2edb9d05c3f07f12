"""Averages and paired differences by hand; the conclusion's false positives and power."""

import numpy as np
import pytest
from synthetic_results import toy_results

from lore_jax.evaluation.conclusion import (
    average,
    conclude,
    conclusions_of,
    conclusive,
    difference,
)
from lore_jax.evaluation.names import DONOR, MISMATCHED_USER
from lore_jax.evaluation.results import Where, join, select

ASKED = Where("unseen", "new items", "m", shots=20)


def without_shots(results, row):
    rows = (other for other in results["rows"] if other["split"] == row["split"])
    return next(other for other in rows if other["shots"] == 0)


def test_the_conclusion_is_no_where_users_do_not_differ():
    conclusions = [conclude(toy_results(0.0, seed), ASKED) for seed in range(100)]
    # 2.5 by chance at most: all comparisons must agree.
    assert sum(conclusion["helps"] for conclusion in conclusions) <= 5
    first = conclusions[0]
    assert first["statement"].startswith("No evidence that personalising helps on this data: ")
    # 80 % power at 2.5 %, one-sided
    low, high = first["over_population"][1:]
    assert 0.4 * (high - low) < first["would_show"] < 0.8 * (high - low)
    shown = f"; a gain of {100 * first['would_show']:.1f} points would have shown"
    assert first["statement"].endswith(shown)


def test_the_conclusion_is_yes_where_the_ground_truth_is_a_difference():
    conclusions = [
        conclude(toy_results(0.03, seed, users=500, splits=3), ASKED) for seed in range(10)
    ]
    assert sum(conclusion["helps"] for conclusion in conclusions) == 10
    first = conclusions[0]
    mean, low, high = (100 * value for value in first["over_population"])
    assert first["statement"] == (
        f"Personalising helps: +{mean:.1f} points with up to 20 comparisons (median 20) "
        f"(95 % interval {low:.1f} to {high:.1f}, 3 splits)"
    )
    assert first["users"] == 1500
    assert first["better"] == 9


def test_evidence_is_log_loss_and_size_is_accuracy():
    # Everybody surer by as much, no answer changes: log loss alone is no help to anybody.
    results = toy_results(0.0, 0)
    for row in results["rows"]:
        if (row["control"], row["shots"]) == (None, 20):
            before = without_shots(results, row)
            for part in ("per_user", "per_item", "per_cell"):
                row[part] = {**before[part]}
            losses = row["per_user"]["log_loss"]
            row["per_user"]["log_loss"] = [value - 0.3 for value in losses]
    conclusion = conclude(results, ASKED)
    assert conclusion["log_loss"]["population"][1] > 0.2
    assert conclusion["log_loss"]["donor user"][1] > 0.2
    assert not conclusion["helps"]
    assert "no answer is predicted otherwise than by the population" in conclusion["statement"]


def test_a_gain_that_log_loss_shows_and_accuracy_does_not_has_an_open_size():
    results = toy_results(0.01, 0, other=-0.01, donor=-0.01)
    for row in results["rows"]:
        if (row["control"], row["shots"]) == (None, 20):
            for name, change in (("log_loss", -0.1), ("first_step", 0.1)):
                row["per_user"][name] = [value + change for value in row["per_user"][name]]
    conclusion = conclude(results, ASKED)
    mean, low, _ = conclusion["over_population"]
    assert low < 0 < mean
    assert conclusion["helps"]
    assert conclusion["statement"].startswith("Personalising helps, by how much is open: +")


def test_over_the_population_the_first_step_is_sure_and_the_whole_way_better():
    results = toy_results(0.03, 0)
    own = [row for row in results["rows"] if (row["control"], row["shots"]) == (None, 20)]
    yes = conclude(results, ASKED)
    assert yes["helps"]
    assert yes["first_step"] == pytest.approx(yes["log_loss"]["population"], abs=1e-6)
    # Somewhat too far: the whole way is better, and not surely.
    for row in own:
        losses = row["per_user"]["log_loss"]
        row["per_user"]["log_loss"] = [loss + 0.01 for loss in losses]
    low, mean = conclude(results, ASKED)["log_loss"]["population"][1::-1]
    assert low < 0 < mean
    assert conclude(results, ASKED)["helps"]
    # Much too far: worse than the population.
    for row in own:
        row["per_user"]["log_loss"] = [loss + 0.02 for loss in row["per_user"]["log_loss"]]
    no = conclude(results, ASKED)
    assert not no["helps"]
    assert ", what shots tell is overstated: probabilities are no better" in no["statement"]


def test_answers_that_happen_to_agree_leave_an_interval():
    results = toy_results(0.0, 0, splits=1)
    row = next(row for row in results["rows"] if (row["control"], row["shots"]) == (None, 20))
    before = without_shots(results, row)
    for part in ("per_user", "per_item", "per_cell"):
        row[part] = {**row[part], "accuracy": before[part]["accuracy"]}
    _, low, high = conclude(results, ASKED)["over_population"]
    # Of 1,200 pairs, two more on which one of both is right.
    reach = 2.0 * 0.5**0.5 / 1200.0
    assert high == -low == pytest.approx(2.001 * reach, rel=1e-3)  # Student's, 59 degrees
    # The same predictions gain nothing on any pairs.
    row.update({part: before[part] for part in ("per_user", "per_item", "per_cell")})
    assert conclude(results, ASKED)["over_population"] == [0.0, 0.0, 0.0]


def test_gaining_as_much_from_others_is_no_evidence():
    conclusion = conclude(toy_results(0.1, 0, other=0.1), ASKED)
    assert conclusion["over_population"][1] > 0
    assert not conclusion["helps"]
    assert (
        ", but not surely more than with another user's weights; a gain of"
        in conclusion["statement"]
    )


def test_gaining_as_much_from_those_asked_alike_is_no_evidence():
    conclusion = conclude(toy_results(0.1, 0, donor=0.1), ASKED)
    assert conclusion["log_loss"]["population"][1] > 0
    assert conclusion["log_loss"]["mismatched user"][1] > 0
    assert conclusion["log_loss"]["donor user"][1] < 0
    assert not conclusion["helps"]
    stopped = ", but not surely more than with those of users asked about the same topics; a gain"
    assert stopped in conclusion["statement"]


def test_a_population_for_everybody_is_said_and_not_a_gain_of_zero():
    results = toy_results(0.0, 0)
    for row in results["rows"]:
        before = without_shots(results, row)
        row.update({part: before[part] for part in ("per_user", "per_item", "per_cell")})
    conclusion = conclude(results, ASKED)
    assert conclusion["same_as_population"]
    assert conclusion["would_show"] > 0
    assert conclusion["statement"] == (
        "No evidence that personalising helps: validation kept every user at the population "
        f"(a gain of {100 * conclusion['would_show']:.1f} points would have shown)"
    )


def test_other_probabilities_without_another_answer_are_said_and_not_a_gain_of_zero():
    results = toy_results(0.0, 0)
    for row in results["rows"]:
        before = without_shots(results, row)
        for part in ("per_user", "per_item", "per_cell"):
            row[part] = {**row[part], "accuracy": before[part]["accuracy"]}
    conclusion = conclude(results, ASKED)
    assert not conclusion["same_as_population"]
    assert ": no answer is predicted otherwise than by the population (" in conclusion["statement"]


def test_what_would_have_shown_is_told_by_the_splits_in_which_anything_is_personal():
    results = toy_results(0.0, 0, splits=4)
    alone = {**results, "rows": [row for row in results["rows"] if row["split"] == 0]}
    for row in results["rows"]:
        if row["split"] > 0:
            before = without_shots(results, row)
            row.update({part: before[part] for part in ("per_user", "per_item", "per_cell")})
    conclusion, expected = conclude(results, ASKED), conclude(alone, ASKED)
    assert conclusion["would_show"] == pytest.approx(expected["would_show"])
    assert not conclusion["same_as_population"]


def test_an_interval_about_users_only_says_so():
    one = toy_results(0.0, 0, splits=1, items=1)  # a single prompt says nothing about others
    assert "1 split)" not in conclude(one, ASKED)["statement"]
    assert "one split: the interval is about users only)" in conclude(one, ASKED)["statement"]
    many = conclude(toy_results(0.0, 0, splits=1), ASKED)["statement"]
    assert "1 split)" in many


def test_averages_and_differences_by_hand():
    results = toy_results(0.05, 0)
    where = Where(method="m", control=None, shots=20)
    rows = select(results, where)
    expected = np.mean([np.mean(row["per_user"]["accuracy"]) for row in rows])
    np.testing.assert_allclose(average(results, where).mean, expected)
    without = np.mean(
        [np.mean(row["per_user"]["accuracy"]) for row in select(results, Where(shots=0))]
    )
    np.testing.assert_allclose(
        difference(results, where, where.also(Where(shots=0))).mean, expected - without
    )
    rows[0]["per_item"]["bucket"] = rows[0]["per_item"]["bucket"][::-1]
    with pytest.raises(ValueError, match="of different test pairs"):
        difference(results, where, where.also(Where(shots=0)))
    with pytest.raises(ValueError, match="names several rows"):
        average(results, Where(method="m"))
    with pytest.raises(ValueError, match=r"no row matches Where\(method='n'\)"):
        average(results, Where(method="n"))


def test_data_sets_count_equally():
    small, large = toy_results(0.0, 0, users=10, splits=1), toy_results(0.3, 1, users=300, splits=1)
    for part, name in ((small, "small"), (large, "large")):
        for entry in (*part["rows"], *part["splits"]):
            entry["data"] = name
    where = Where(method="m", control=None, shots=20)
    expected = [np.mean(select(part, where)[0]["per_user"]["accuracy"]) for part in (small, large)]
    np.testing.assert_allclose(average(join([small, large]), where).mean, np.mean(expected))


def test_questions_need_a_population_and_a_control():
    results = toy_results(0.0, 0)
    assert conclusive(results, "m") == [ASKED]
    assert conclusive(results, "another") == []
    assert conclusions_of(results, "m") == {"Unseen users, new prompts": conclude(results, ASKED)}
    for control in (MISMATCHED_USER, DONOR):
        others = [row for row in results["rows"] if row["control"] != control]
        assert conclusive({**results, "rows": others}, "m") == []
    population_only = {**results, "rows": select(results, Where(shots=0))}
    assert conclusive(population_only, "m") == []
