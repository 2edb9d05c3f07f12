"""Averages and paired differences by hand; the conclusion's false positives and power."""

import numpy as np
import pytest
from synthetic_results import toy_results

from lore_jax.evaluation.conclusion import average, conclude, conclusive, difference
from lore_jax.evaluation.results import Where, join, select

ASKED = Where("unseen", "new items", "m", shots=20)


def test_the_conclusion_is_no_where_users_do_not_differ():
    conclusions = [conclude(toy_results(0.0, seed), ASKED) for seed in range(100)]
    # 2.5 by chance at most: both comparisons must agree.
    assert sum(conclusion["helps"] for conclusion in conclusions) <= 5
    assert conclusions[0]["statement"].startswith(
        "No evidence that personalising helps on this data"
    )


def test_the_conclusion_is_yes_where_the_ground_truth_is_a_difference():
    conclusions = [
        conclude(toy_results(0.03, seed, users=500, splits=3), ASKED) for seed in range(20)
    ]
    assert sum(conclusion["helps"] for conclusion in conclusions) == 20
    first = conclusions[0]
    mean, low, high = (100 * value for value in first["over_population"])
    assert first["statement"] == (
        f"Personalising helps: +{mean:.1f} points at 20 shots "
        f"(95 % interval {low:.1f} to {high:.1f}, 3 splits)"
    )
    assert first["users"] == 1500
    assert first["better"] == 9


def test_gaining_as_much_from_others_is_no_evidence():
    conclusion = conclude(toy_results(0.1, 0, other=0.1), ASKED)
    assert conclusion["over_population"][1] > 0
    assert not conclusion["helps"]
    assert conclusion["statement"].endswith("another user's weights do as well")


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
    without_control = {**results, "rows": select(results, Where(control=None))}
    assert conclusive(without_control, "m") == []
    population_only = {**results, "rows": select(results, Where(shots=0))}
    assert conclusive(population_only, "m") == []
