"""Who stops and who goes on, and that the winner is that of the full grid."""

import threading

import numpy as np
import pytest

from lore_jax.fitting.race import Race, slack

FOLDS = 4


def race(losses, slacks, at_once=1):
    """`losses [settings, folds, variants]`; the race, and what was measured in which order."""
    seen = []

    def measure(setting, fold):
        seen.append((setting, fold))
        return np.stack([losses[setting, fold], 1.0 - losses[setting, fold]])

    return Race(measure, np.asarray(slacks), at_once=at_once), seen


def test_slack_falls_with_what_is_held_out():
    np.testing.assert_allclose(slack([400, 1200], 1600), [0.25 / 20, 0.25 / 40])
    # Drawn three times, or tested in every fold, a response is still one.
    np.testing.assert_allclose(slack([1600] * 3, 1600), 0.25 / 40)


def test_those_that_fall_behind_stop():
    losses = np.array([[0.50, 0.50], [0.53, 0.40], [0.51, 0.58], [0.60, 0.10]])[:, :, None]
    it, seen = race(losses, [0.04, 0.02])
    it.enter(range(4))
    # The last is .1 behind on the first fold; the third is .045 behind on both, the last fold.
    assert seen == [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (2, 1)]
    assert [list(np.isfinite(found[:, 0, 0])) for found in it.found] == [[True, True]] * 3 + [
        [True, False]
    ]
    np.testing.assert_array_equal(it.found[1][:, 0], losses[1])
    np.testing.assert_array_equal(it.found[1][:, 1], 1.0 - losses[1])


def test_a_setting_may_win_by_any_variant():
    losses = np.array([[[0.5, 0.9]] * 2, [[0.9, 0.5]] * 2, [[0.9, 0.9]] * 2])
    it, seen = race(losses, [0.1, 0.1])
    it.enter(range(3))
    assert (1, 1) in seen
    assert (2, 1) not in seen


def test_later_ones_are_measured_against_the_best_so_far_and_none_twice():
    losses = np.array([[0.5] * FOLDS, [0.6] * FOLDS, [0.49] * FOLDS, [0.7] * FOLDS])[:, :, None]
    it, seen = race(losses, [0.05] * FOLDS, at_once=2)
    it.enter([0, 1])
    it.enter([2])
    it.enter([3])
    assert len(seen) == len(set(seen)) == 2 * FOLDS + 2
    assert {fold for setting, fold in seen if setting == 3} == {0}


@pytest.mark.parametrize("seed", range(5))
def test_the_winner_is_that_of_the_full_grid_where_responses_decide(seed):
    # Means .003 apart; each fold's 2,500 responses add an error of .1 / sqrt(2500) to each.
    rng = np.random.default_rng(seed)
    noise = rng.normal(scale=0.1 / 50, size=(10, FOLDS, 1))
    losses = 0.5 + 0.003 * rng.permutation(10)[:, None, None] + noise
    it, seen = race(losses, slack([2500] * FOLDS, 10_000))
    it.enter(range(10))
    means = np.array([found[:, 0].mean() for found in it.found])
    assert np.nanargmin(means) == losses.mean(axis=(1, 2)).argmin()
    assert len(seen) < 0.7 * losses.size


def test_who_has_nothing_to_do_goes_ahead_with_those_that_lead():
    folds = 5
    losses = np.array([[0.5] * folds, [0.49] * folds])[:, :, None]
    together = threading.Barrier(4, timeout=60)  # after the first fold, four are measured at a time
    asked = []

    def measure(setting, fold):
        asked.append((setting, fold))
        if fold:
            together.wait()
        return np.stack([losses[setting, fold]] * 2)

    it = Race(measure, np.full(folds, 0.1), at_once=4)
    it.enter(range(2))
    assert sorted(asked) == [(setting, fold) for setting in range(2) for fold in range(folds)]
    np.testing.assert_array_equal(np.stack(it.found)[:, :, 0], losses)


def test_what_was_measured_ahead_of_a_setting_that_stops_is_not_told():
    losses = np.array([[0.5, 0.9, 0.1], [0.5, 0.5, 0.5]])[:, :, None]
    it, _ = race(losses, [0.1, 0.1, 0.1], at_once=8)
    it.enter(range(2))
    assert [list(np.isfinite(found[:, 0, 0])) for found in it.found] == [
        [True, True, False],
        [True, True, True],
    ]
