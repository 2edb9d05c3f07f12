"""Figures from JSON alone: they appear, and what they draw is what the JSON says."""

import struct

import numpy as np

from lore_jax.evaluation.names import DONOR, MISMATCHED_USER
from lore_jax.evaluation.results import Where, select
from lore_jax.reporting.figures import (
    inline,
    reliability_figure,
    save_figures,
    shots_figure,
    users_figure,
)

USERS = 15


def test_every_figure_appears(results, tmp_path):
    files = save_figures(results, tmp_path / "figures", note="Where the pairs come from.")
    assert sorted(path.name for path in files) == [
        "reliability-new-items.png",
        "shots-new-items.png",
        "users-here.png",
    ]
    for path in files:
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert min(width, height) > 400


def test_curves_are_the_means_of_the_rows(results):
    left, right = shots_figure(results).axes
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in left.lines}
    donor = "personal, weights of the user asked most alike"
    assert set(lines) == {"personal", "personal, another user's weights", donor, "ridge BT"}

    def mean(control, shots):
        rows = select(results, Where(method="personal", control=control, shots=shots))
        return 100 * np.mean([row["accuracy"] for row in rows])

    expected = [mean(None, shots) for shots in (0, 2, 8)]
    np.testing.assert_allclose(lines["personal"], expected, rtol=1e-5)
    control = [mean(MISMATCHED_USER, shots) for shots in (2, 8)]
    np.testing.assert_allclose(lines["personal, another user's weights"], control, rtol=1e-5)
    control = [mean(DONOR, shots) for shots in (2, 8)]
    np.testing.assert_allclose(lines[donor], control, rtol=1e-5)
    gained = next(line.get_ydata() for line in right.lines if len(line.get_xdata()) == 3)
    np.testing.assert_allclose(gained, np.array(expected) - expected[0], rtol=1e-4, atol=1e-4)
    assert list(left.get_xticks()) == [0, 2, 8]


def test_reliability_shows_all_pairs_of_all_splits(results):
    above, below = reliability_figure(results, shots=7, methods=["personal"]).axes
    assert above.get_title("left") == "Unseen users, new responses, 8 shots"
    confidence, accuracy = (np.asarray(values) for values in above.lines[1].get_data())
    assert (np.diff(confidence) > 0).all()
    rows = select(results, Where(method="personal", control=None, shots=8))
    right, count = (
        sum(np.sum(row["calibration"][name]) for row in rows) for name in ("right", "count")
    )
    assert count == 2 * 12 * USERS
    np.testing.assert_allclose(np.average(accuracy), 100 * right / count, atol=5)
    np.testing.assert_allclose(below.patches[0].get_data().values.sum(), 100)


def test_users_and_the_population_are_on_the_map(results):
    described = results["axes"]["here"]
    (axes,) = users_figure(described, "here").axes
    drawn = {points.get_label(): points.get_offsets() for points in axes.collections}
    assert set(drawn) == {"seen users (9)", "unseen users (4)", "population"}
    np.testing.assert_allclose(
        drawn["unseen users (4)"], np.array(described["groups"]["unseen users"])[:, :2]
    )
    np.testing.assert_allclose(drawn["population"], [[0.5, -0.25]])
    assert "60 %" in axes.get_xlabel()


def test_one_axis_is_a_histogram():
    groups = {"seen users": [[-1.0], [0.5], [2.0]], "unseen users": [[0.0]]}
    (axes,) = users_figure(
        {"groups": groups, "axes": [{"share": 1.0}], "population": [0.5]}, "$not maths$"
    ).axes
    assert sum(patch.get_height() for patch in axes.patches) == 4
    assert axes.get_ylabel() == "users"
    assert inline(axes.figure).startswith("data:image/png;base64,")


def test_one_panel_says_what_it_says_beside_the_other(results):
    (left,), (right,) = (
        shots_figure(results, panels=[panel]).axes for panel in ("accuracy", "gained")
    )
    for alone, beside in zip((left, right), shots_figure(results).axes, strict=True):
        assert alone.get_ylabel() == beside.get_ylabel()
        for one, other in zip(alone.lines, beside.lines, strict=True):
            np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())
