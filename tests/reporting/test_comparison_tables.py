"""Tables of a comparison against the rows they are made of."""

import numpy as np
import pytest

from lore_jax.evaluation.conclusion import difference
from lore_jax.evaluation.results import Where, select
from lore_jax.reporting.comparison_tables import (
    comparison_cells,
    comparison_markdown,
    difference_cells,
    difference_intervals,
    fewer_users,
    is_comparison,
    items_of,
    ranked,
    reported_shots,
    shots_cells,
    users_cells,
)

AFTER = Where("unseen", "new items", shots=8)


def mean(results, method, name, **where):
    rows = select(results, AFTER.also(Where(method=method, **where)))
    return np.mean([row[name] for row in rows])


def test_methods_stand_in_the_order_of_their_loss(results, comparison):
    assert is_comparison(comparison)
    assert not is_comparison(results)
    assert items_of(comparison) == ["new items"]
    assert reported_shots(comparison) == 8
    losses = {name: mean(comparison, name, "log_loss") for name in ranked(comparison, "new items")}
    assert set(losses) == {"gaussian", "bradley-terry", "once"}
    assert list(losses.values()) == sorted(losses.values())


def test_the_table_says_what_methods_do_and_cost(comparison):
    head, *body = comparison_cells(comparison, "new items")
    lines = {line[0]: dict(zip(head, line, strict=True)) for line in body}
    assert body[-1][0] == "refusing"
    assert lines["refusing"]["note"] == "cannot run: there is no <head>"
    assert lines["refusing"]["accuracy, %"] == "\u2013"
    line = lines["gaussian"]
    expected = 100 * mean(comparison, "gaussian", "accuracy")
    assert line["accuracy, %"].startswith(f"{expected:.1f} (")
    assert line["bottom decile, %"] == f"{100 * mean(comparison, 'gaussian', 'bottom_decile'):.1f}"
    assert line["parameters"] == "1,234"
    assert line["seconds to fit"] == "35.0 (over 30)"  # the mean of 20 and 50
    assert (line["one user, ms"], line["1,000 users, ms"]) == ("1.23", "123")
    assert line["note"] == ""
    assert lines["once"]["note"] == "ran on 1 of 2: diverged: margins are not finite"
    assert lines["once"]["seconds to fit"] == "50.0 (over 30)"


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_differences_are_over_the_splits_of_both(comparison, metric):
    found = difference_intervals(comparison, "new items", metric)
    assert list(found) == [name for name in ranked(comparison, "new items") if name != "gaussian"]
    second = {**comparison, "rows": [row for row in comparison["rows"] if row["split"] == 1]}
    for name, where in (("bradley-terry", comparison), ("once", second)):
        two = (AFTER.also(Where(method=method)) for method in (name, "gaussian"))
        assert found[name] == difference(where, *two, metric=metric).interval()
    assert difference_cells(comparison, "new items")[0][0] == "minus gaussian"


def test_without_the_population_model_there_are_no_differences(comparison):
    rows = [row for row in comparison["rows"] if row["method"] != "gaussian"]
    assert not difference_intervals({**comparison, "rows": rows}, "new items", "accuracy")
    assert "Paired differences" not in comparison_markdown({**comparison, "rows": rows})


def test_curves(comparison):
    assert shots_cells(comparison, "new items")[0] == ["", "0 shots", "2 shots", "8 shots"]
    assert list(fewer_users(comparison, "new items")) == [20.0, 40.0]
    head, *body = users_cells(comparison, "new items")
    assert head == ["", "20 users", "40 users"]
    lines = {line[0]: line[1:] for line in body}
    assert lines["once"][0] == "\u2013"  # it has no rows of fewer users
    assert lines["gaussian"][0] == lines["gaussian"][1]  # the same rows stand in for them


def test_all_of_it_is_markdown(comparison):
    text = comparison_markdown(comparison)
    assert text.startswith("## Unseen users, new responses, 8 shots\n\n|")
    assert text.count("| refusing") == 1
    assert "Accuracy by data set" not in text  # there is one alone
    for line in text.splitlines():
        assert line.startswith(("|", "##", "Paired", "Accuracy")) or not line
