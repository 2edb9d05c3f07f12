"""Intervals by hand, against scipy, and by simulation: they hold for new users and new items."""

import numpy as np
import pytest
import scipy.stats

from lore_jax.evaluation.intervals import (
    SEVERAL_SPLITS,
    Estimate,
    Interval,
    Sample,
    Sums,
    combine,
    estimate,
)


def sums(values):
    return Sums(np.arange(len(values)), np.asarray(values, float))


def test_one_split_about_users_only_is_students_interval():
    values = np.random.default_rng(0).normal(size=12)
    found = estimate([Sample(np.arange(12), values)])
    expected = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    np.testing.assert_allclose(found.interval(0.9)[1:], expected)
    assert not found.about_items


def test_the_variance_by_hand():
    values = np.array([0.1, 0.4, np.nan, 0.7])
    items, cells = sums([0.03, -0.01, 0.02]), sums([0.01, 0.01, -0.01])
    found = estimate([Sample(np.arange(4), values, items, cells)])
    mean = 0.4
    by_user = sum(((v - mean) / 3) ** 2 for v in (0.1, 0.4, 0.7)) * 3 / 2
    by_item = (0.03**2 + 0.01**2 + 0.02**2) * 3 / 2
    assert found.mean == pytest.approx(mean)
    assert found.variance == pytest.approx(by_user + by_item - 3 * 0.01**2)
    assert (found.degrees, found.about_items) == (2.0, True)
    # More noise in the cells than there is in the items: the users' part is left.
    noisy = estimate([Sample(np.arange(4), values, items, sums([1.0, 1.0]))])
    assert noisy.variance == pytest.approx(by_user)
    # One item says nothing about others.
    assert not estimate([Sample(np.arange(4), values, sums([0.0]), cells)]).about_items


def test_influences_of_splits_are_added_up_by_user_and_by_item():
    first = Sample(np.array(["a", "b"]), np.array([1.0, 0.0]), sums([0.2, -0.2]), sums([0.1]))
    second = Sample(
        np.array(["b", "c"]),
        np.array([1.0, 0.5]),
        Sums(np.array([1, 2]), np.array([0.1, -0.1])),
        sums([0.1]),
    )
    found = estimate([first, second])
    users = np.array([0.25, -0.25 + 0.125, -0.125]) / 2
    items = np.array([0.2, -0.2 + 0.1, -0.1]) / 2
    expected = (users**2).sum() * 3 / 2 + (items**2).sum() * 3 / 2 - ((0.1 + 0.1) / 2) ** 2
    # (1/2 (a - mean) of two users, and so on: each user's share of the mean of its split)
    assert found.mean == pytest.approx((0.5 + 0.75) / 2)
    assert found.variance == pytest.approx(SEVERAL_SPLITS * expected)
    apart = second._replace(users=np.array(["d", "e"]))
    assert estimate([first, apart]).degrees == 2.0  # four users, three items


def test_the_same_users_in_several_splits_are_not_more_users():
    rng = np.random.default_rng(6)
    of_user = rng.normal(size=30)
    splits = [Sample(np.arange(30), of_user + rng.normal(scale=0.01, size=30)) for _ in range(10)]
    apart = [part._replace(users=np.arange(30) + 30 * number) for number, part in enumerate(splits)]
    one, ten = estimate(splits[:1]).variance, estimate(splits).variance
    assert ten / SEVERAL_SPLITS == pytest.approx(one, rel=0.02)
    assert estimate(apart).variance < 0.15 * one


def test_a_split_without_influences_leaves_users_only():
    values = np.array([0.0, 1.0, 2.0])
    full = Sample(np.arange(3), values, sums([0.5, -0.5]), sums([0.1]))
    bare = Sample(np.arange(3), values)
    assert estimate([full, full]).about_items
    assert not estimate([full, bare]).about_items
    nobody = Sample(np.arange(3), np.full(3, np.nan), sums([]), sums([]))
    assert estimate([full, nobody]) == estimate([full])


def test_nobody_and_a_single_user():
    assert np.isnan(estimate([Sample(np.arange(1), np.array([np.nan]))]).interval()).all()
    single = estimate([Sample(np.arange(1), np.array([0.7]))])
    assert single.interval() == Interval(0.7, -np.inf, np.inf)
    assert np.isinf(single.would_show)


def test_data_sets_count_equally_and_degrees_are_satterthwaites():
    a, b = Estimate(0.2, 0.04, 9.0, True), Estimate(0.6, 0.01, 4.0, False)
    joint = combine([a, b])
    assert joint.mean == pytest.approx(0.4)
    assert joint.variance == pytest.approx(0.05 / 4)
    assert joint.degrees == pytest.approx(0.05**2 / (0.04**2 / 9 + 0.01**2 / 4))
    assert not joint.about_items
    assert combine([a]) == a
    still = Estimate(0.0, 0.0, 5.0, True)
    assert combine([still, still]).interval() == Interval(0.0, 0.0, 0.0)


def test_what_would_have_shown_does_show_in_four_of_five():
    rng = np.random.default_rng(8)
    users, shown, trials = 200, 0, 1000
    would_show = Estimate(0.0, 1.0 / users, users - 1.0, True).would_show
    for _ in range(trials):
        values = would_show + rng.normal(size=users)
        shown += estimate([Sample(np.arange(users), values)]).interval().low > 0
    # three standard errors of 1,000 trials are 3.8 points
    assert shown / trials == pytest.approx(0.8, abs=0.038)


@pytest.mark.parametrize(
    ("of_user", "of_item", "noise"), [(0.3, 0.3, 1.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0, 0, 1)]
)
def test_the_interval_holds_for_new_users_and_new_items(of_user, of_item, noise):
    rng = np.random.default_rng(6)
    users, items, held, trials = 60, 40, 0, 1000
    for _ in range(trials):
        asked = rng.random((users, items)).argsort(axis=1)[:, :15]
        value = of_user * rng.normal(size=(users, 1)) + of_item * rng.normal(size=items)[asked]
        value = value + noise * rng.normal(size=value.shape)
        mean = value.mean(axis=1)
        influence = ((value - value.mean()) / value.size).ravel()
        by_item = np.bincount(asked.ravel(), influence, minlength=items)
        found = estimate([Sample(np.arange(users), mean, sums(by_item), sums(influence))])
        low, high = found.interval()[1:]
        held += low <= 0.0 <= high
    # 95 % wanted; three standard errors of 1,000 trials are 2.1 points.
    assert held / trials == pytest.approx(0.95, abs=0.021)
