"""Evaluation against loops over users, and its controls."""

import jax.numpy as jnp
import numpy as np
import pytest
from scored import Scored
from synthetic_results import RESPONSES, USERS, by_shots, preferences

from lore_jax.data.four_way import four_way
from lore_jax.data.splits import draw_shots
from lore_jax.evaluation import metrics
from lore_jax.evaluation.controls import derangement, donors
from lore_jax.evaluation.evaluate import Condition, conditions, evaluate
from lore_jax.evaluation.names import DONOR, MISMATCHED_USER
from lore_jax.methods.base import BasisPredictor
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior
from lore_jax.users.predict import Margins


def test_rows_against_a_loop_over_users():
    shots, test = preferences(0), preferences(1)
    shown = evaluate(
        {"m": Scored(by_shots)},
        [Condition("unseen", "new items", shots, test)],
        shots=(0, 3),
        seed=5,
    )
    kept = {(row["control"], row["shots"]): row for row in shown}
    assert set(kept) == {(None, 0), (None, 3), (MISMATCHED_USER, 3), (DONOR, 3)}
    givers = {None: np.arange(USERS), MISMATCHED_USER: derangement(USERS, seed=5)}
    givers[DONOR] = donors(shots, mismatched=givers[MISMATCHED_USER])
    drawn = draw_shots(shots, 3, seed=5)
    for (control, count), row in kept.items():
        accuracy, loss, brier, better, worse = [], [], [], 0, 0
        for u in range(USERS):
            giver = int(givers[control][u])
            assert (giver == u) == (control is None)
            mine = test.user == u
            if not mine.any():
                assert np.isnan(row["per_user"]["accuracy"][u])
                continue
            value = np.sin(np.arange(RESPONSES))
            base = value[test.chosen[mine]] - value[test.rejected[mine]]
            theirs = drawn.user == giver
            taste = (drawn.chosen[theirs] - drawn.rejected[theirs]).sum() if count else 0
            z = base * (1.0 + taste)
            p = 1 / (1 + np.exp(-z / np.sqrt(1 + np.pi / 8 * 0.5)))
            right, without = (z > 0) + 0.5 * (z == 0), base > 0
            accuracy.append(right.mean())
            loss.append(-np.log(p).mean())
            brier.append(((1 - p) ** 2).mean())
            better += right.sum() > without.sum()
            worse += right.sum() < without.sum()
            np.testing.assert_allclose(row["per_user"]["accuracy"][u], accuracy[-1], atol=1e-6)
        expected = {
            "accuracy": np.mean(accuracy),
            "log_loss": np.mean(loss),
            "brier": np.mean(brier),
        }
        expected |= {
            "better": better,
            "worse": worse,
            "num_users": len(accuracy),
            "num_pairs": test.num_pairs,
            "median_shots": np.median(
                [(drawn.user == u).sum() if count else 0 for u in np.unique(test.user)]
            ),
        }
        expected["bottom_decile"] = min(accuracy)
        for name, value in expected.items():
            np.testing.assert_allclose(row[name], value, rtol=1e-5, err_msg=name)
        assert row["calibration"]["count"].sum() == test.num_pairs
        assert row["ece_bias"] > 0
        assert set(row["per_cell"]) == {"bucket", "accuracy", "log_loss", "brier", "first_step"}
        assert row["per_item"]["bucket"].tolist() == np.unique(test.prompt).tolist()


def test_seen_users_keep_the_weights_of_the_fit_and_controls_swap_them():
    prefs = preferences(0)
    offset = np.linspace(-3, 3, USERS).astype(np.float32)
    fitted = Scored(
        by_shots, lambda _, test: Margins(offset[test.user], np.zeros(test.num_pairs, np.float32))
    )
    rows = evaluate({"m": fitted}, [Condition("seen", "new items", prefs, prefs)], seed=0)
    assert [(row["control"], row["shots"]) for row in rows] == [
        (None, 0),
        (None, None),
        (MISMATCHED_USER, None),
        (DONOR, None),
    ]
    tested = prefs.pairs_per_user() > 0
    np.testing.assert_array_equal(
        rows[1]["per_user"]["accuracy"][tested], metrics.correct(offset)[tested]
    )
    mismatched = derangement(USERS, seed=0)
    for row, giver in ((rows[2], mismatched), (rows[3], donors(prefs, mismatched=mismatched))):
        np.testing.assert_array_equal(
            row["per_user"]["accuracy"][tested], metrics.correct(offset[giver])[tested]
        )


def test_a_model_is_adapted_and_the_conditions_of_a_split_are_all_there():
    prefs = preferences(3, users=12, pairs=30)
    model = Model(
        LinearBasis(2),
        {"V": jnp.eye(3)[:, :2]},
        jnp.ones(()),
        GaussianPrior(jnp.eye(2)[0], jnp.eye(2)[:, 1:]),
    )
    both = ("known items", "new items")
    split = four_way(prefs, group_by="prompt", items=both, seed=0)
    rows = evaluate(
        {"m": BasisPredictor(model)}, conditions(split), shots=(0, 4), data="d", split=7, seed=0
    )
    assert {(row["users"], row["items"]) for row in rows} == set(split.tests)
    for row in rows:
        assert (row["data"], row["split"]) == ("d", 7)
        assert row["num_users"] == split.tests[row["users"], row["items"]].num_users
    population = next(
        row
        for row in rows
        if row["shots"] == 0 and row["users"] == "unseen" and row["items"] == "known items"
    )
    test = split.tests["unseen", "known items"]
    margin = (
        np.asarray(prefs.embeddings)[:, 0][test.chosen]
        - np.asarray(prefs.embeddings)[:, 0][test.rejected]
    )
    expected = [np.mean(margin[test.user == u] > 0) for u in range(test.num_users)]
    np.testing.assert_allclose(population["per_user"]["accuracy"], expected)


def test_conditions_of_different_users_are_refused():
    with pytest.raises(ValueError, match="shots are of 9 users, the test pairs of 5"):
        evaluate(
            {}, [Condition("unseen", "new items", preferences(0), preferences(0, users=5))], seed=0
        )


def test_one_user_has_no_mismatched_user():
    rows = evaluate(
        {"m": Scored(by_shots)},
        [Condition("unseen", "new items", preferences(0, 1, 5), preferences(1, 1, 5))],
        seed=0,
    )
    assert all(row["control"] is None for row in rows)


def test_controls_can_be_left_out():
    condition = Condition("unseen", "new items", preferences(0), preferences(1))
    all_rows, own = (
        evaluate({"m": Scored(by_shots)}, [condition], shots=(0, 3), with_controls=on, seed=5)
        for on in (True, False)
    )
    kept = [row for row in all_rows if row["control"] is None]
    assert [row["shots"] for row in own] == [0, 3]
    assert [row["log_loss"] for row in own] == [row["log_loss"] for row in kept]


def test_the_influences_are_of_the_groups_that_the_split_keeps_apart():
    condition = Condition("unseen", "new items", preferences(0), preferences(1))
    test = condition.test
    (row,) = evaluate({"m": Scored(by_shots)}, [condition], shots=(0,), group_by="response", seed=0)
    responses = np.unique([test.chosen, test.rejected])
    assert row["per_item"]["bucket"].tolist() == responses.tolist()
    value = np.sin(np.arange(RESPONSES))
    right = metrics.correct(value[test.chosen] - value[test.rejected])
    count = np.bincount(test.user, minlength=USERS)
    mean = np.nanmean(row["per_user"]["accuracy"])
    share = (right - mean) / (count[test.user] * (count > 0).sum())
    expected = [share[(test.chosen == r) | (test.rejected == r)].sum() for r in responses]
    np.testing.assert_allclose(np.abs(row["per_item"]["accuracy"]), np.abs(expected), atol=1e-12)
