"""Intervals hold the truth for new users and items, in a small simulation with a fixed seed."""

import json

import numpy as np
import pytest

from experiments import interval_coverage
from experiments.interval_coverage import Config, World, measure, table

SMALL = World(dim=4, judged=40, shots=10, tests=12, fresh=500)


@pytest.mark.parametrize(("items", "users", "splits"), [(60, 100, 1), (60, 40, 3)])
def test_intervals_hold_for_new_users_and_items(items, users, splits):
    found = measure(SMALL, populations=200, items=items, users=users, splits=splits, seed=0)
    # 95 % wanted; three standard errors of 200 populations are 4.6 points.
    assert found["held"] >= 0.904
    assert found["gain"] > 0.01
    # Not by being too wide: the standard errors are those of the errors, within a fifth.
    assert found["standard error"] == pytest.approx(found["error"], rel=0.2)
    assert found["held, users alone"] < found["held"]


def test_the_table_and_the_file(tmp_path, capsys):
    config = Config(tmp_path, items=(30,), users=(20,), splits=(1, 2), populations=3)
    result = interval_coverage.run(config, SMALL)
    assert table(result["measured"]) in capsys.readouterr().out
    assert json.loads((tmp_path / "interval_coverage.json").read_text()) == result
    assert [row["splits"] for row in result["measured"]] == [1, 2]


def test_at_most_some_entries_of_each_row_are_drawn():
    rng = np.random.default_rng(0)
    possible = rng.random((50, 20)) < 0.5
    drawn = interval_coverage._some_of_each(rng, possible, 8)
    assert not (drawn & ~possible).any()
    np.testing.assert_array_equal(drawn.sum(axis=1), np.minimum(possible.sum(axis=1), 8))
