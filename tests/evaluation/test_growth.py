"""Extrapolations against NumPy's least squares and SciPy's t interval over users."""

import copy

import numpy as np
import pytest
import scipy.stats
from synthetic_results import toy_results

from lore_jax.evaluation.growth import growth_with_shots, growth_with_users
from lore_jax.evaluation.results import Where, join

WHERE = Where(items="new items", method="m")
USERS = 40


def with_accuracies(row, values, **more):
    """A row whose users have other accuracies, and the same influences of items."""
    per_user = {**row["per_user"], "accuracy": values}
    return {**copy.deepcopy(row), "per_user": per_user, **more}


def curve(amount, rng):
    """Accuracies of users along a power law with the exponent 1/2, each with noise."""
    return 0.8 - 0.3 * amount**-0.5 + 0.02 * rng.normal(size=USERS)


@pytest.fixture(scope="module")
def toy():
    return toy_results(0.1, 0, users=USERS, splits=1)


def test_more_shots_by_hand(toy):
    rng = np.random.default_rng(0)
    template = toy["rows"][1]
    amounts = [5, 10, 20, 33]
    values = {amount: curve(amount, rng) for amount in amounts}
    rows = [
        with_accuracies(template, values[amount].tolist(), shots=asked, median_shots=float(amount))
        for asked, amount in zip((5, 10, 20, 40), amounts, strict=True)
    ]
    # More than users have: the same shots again.
    again = {**rows[-1], "shots": 80}
    found = growth_with_shots({**toy, "rows": [toy["rows"][0], *rows, again]}, WHERE)
    assert found.amount == amounts
    np.testing.assert_allclose(found.accuracy, [values[amount].mean() for amount in amounts])
    shares = np.array(amounts) / 33
    ends = []
    for c in (0.25, 0.5, 1.0):
        design = np.column_stack([np.ones(4), -(shares**-c)])
        slopes = np.linalg.lstsq(design, np.array([values[a] for a in amounts]), rcond=None)[0][1]
        gains = slopes * (1 - 2**-c)
        reach = scipy.stats.sem(gains) * scipy.stats.t.ppf(0.975, USERS - 1)
        ends += [gains.mean() - reach, gains.mean() + reach]
        if c == 0.5:
            assert found.doubling.mean == pytest.approx(gains.mean())
            assert found.fitted(2.0) - found.fitted(1.0) == pytest.approx(gains.mean())
    assert found.doubling.low == pytest.approx(min(ends))
    assert found.doubling.high == pytest.approx(max(ends))
    assert found.gain[0].low == found.gain[0].high == 0.0
    # The truth: 0.3 (33^-0.5 - 66^-0.5).
    assert found.doubling.low < 0.3 * (33**-0.5 - 66**-0.5) < found.doubling.high


def test_two_amounts_tell_no_curve(toy):
    assert growth_with_shots(toy, WHERE) is None
    assert growth_with_users(toy, WHERE) is None


def with_curve(results, rng, noise, users=40):
    """A learning curve of four quarters and two halves; draws differ by `noise`."""
    made = copy.deepcopy(results)
    made["splits"][0]["users"]["seen"] = [f"p{i}" for i in range(users + 2)]
    template = made["rows"][1]
    template["per_user"]["accuracy"] = curve(1.0, rng).tolist()
    made["learning_curve"] = [
        with_accuracies(
            template,
            (curve(1 / parts, rng) + noise * rng.normal()).tolist(),
            parts=parts,
            draw=draw,
            fitted_users=users // parts,
        )
        for parts in (4, 2)
        for draw in range(parts)
    ]
    return made


def test_more_users_by_hand(toy):
    made = with_curve(toy, np.random.default_rng(0), 0.0)
    found = growth_with_users(made, Where(method="m"))
    assert found.amount == [10.5, 21.0, 42.0]
    quarter = [np.mean(row["per_user"]["accuracy"]) for row in made["learning_curve"][:4]]
    assert found.accuracy[0] == pytest.approx(np.mean(quarter))
    assert found.doubling.low < 0.3 * (1 - 2**-0.5) < found.doubling.high


def test_the_noise_of_draws_widens_the_interval(toy):
    """Fits of other users differ by 3 points: the interval says so, and holds the truth."""
    truth, reach = 0.3 * (1 - 2**-0.5), {}
    for noise in (0.0, 0.03):
        found = [
            growth_with_users(
                with_curve(toy, np.random.default_rng(seed), noise), Where(method="m")
            )
            for seed in range(20)
        ]
        reach[noise] = np.mean([one.doubling.high - one.doubling.low for one in found])
        assert sum(one.doubling.low < truth < one.doubling.high for one in found) >= 18
    assert reach[0.03] > 1.2 * reach[0.0]


def test_joined_results_join_their_curves(toy):
    parts = []
    for seed in range(2):
        part = with_curve(toy, np.random.default_rng(seed), 0.0)
        for row in [*part["rows"], *part["learning_curve"], *part["splits"]]:
            row["split"] = seed
        parts.append(part)
    alone = [growth_with_users(part, Where(method="m")) for part in parts]
    both = growth_with_users(join(parts), Where(method="m"))
    np.testing.assert_allclose(both.accuracy, np.mean([one.accuracy for one in alone], axis=0))
    without = {name: value for name, value in parts[1].items() if name != "learning_curve"}
    one = growth_with_users(join([parts[0], without]), Where(method="m"))
    np.testing.assert_allclose(one.accuracy, alone[0].accuracy)
