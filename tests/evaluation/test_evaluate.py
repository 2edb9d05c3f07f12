"""Evaluation against loops over users, controls, paired differences and the sentence."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from lore_jax.data.four_way import four_way
from lore_jax.data.preferences import from_arrays
from lore_jax.data.splits import draw_shots
from lore_jax.evaluation import metrics
from lore_jax.evaluation.calibration import count_confidences, pool
from lore_jax.evaluation.conclusion import average, conclude, difference
from lore_jax.evaluation.controls import derangement, permute_users
from lore_jax.evaluation.evaluate import (
    MISMATCHED_USER,
    Condition,
    Method,
    adapting,
    conditions,
    evaluate,
)
from lore_jax.evaluation.results import (
    describe_split,
    join,
    make_results,
    plain,
    read_results,
    select,
    users_of,
    write_results,
)
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import Population
from lore_jax.reporting.tables import (
    four_way_columns,
    is_personal,
    method_lines,
    shots_columns,
    table,
)
from lore_jax.users.predict import Margins

USERS, RESPONSES = 9, 30


def preferences(seed, users=USERS, pairs=None):
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 8, users) if pairs is None else np.full(users, pairs)
    user = np.repeat(np.arange(users), count)
    chosen = rng.integers(RESPONSES, size=len(user))
    rejected = (
        chosen // 3 * 3 + (chosen + rng.integers(1, 3, size=len(user))) % 3
    )  # three responses a prompt
    table = rng.normal(size=(RESPONSES, 3)).astype(np.float32)
    return from_arrays(table, chosen, rejected, user, prompt=chosen // 3, num_users=users)


def by_shots(shots, test):
    """A scorer without a model: a user's margins depend on the rows of the user's shots, and so on
    whose they are.
    """
    taste = np.bincount(shots.user, shots.chosen - shots.rejected, minlength=shots.num_users)
    value = np.sin(np.arange(RESPONSES))
    mean = (value[test.chosen] - value[test.rejected]) * (1.0 + taste[test.user])
    return Margins(mean.astype(np.float32), np.full(test.num_pairs, 0.5, np.float32))


def entry(users=USERS, items=("new items",), **more):
    return describe_split(
        {"seen": np.arange(users), "unseen": np.arange(users)},
        items=items,
        group_by="prompt",
        digest="0",
        **more,
    )


def toy_results(gain, seed, *, users=60, splits=2, other=0.0, pairs=20):
    """Per-user accuracies drawn at will: `gain` over the population, `other` over it with another
    user's weights.
    """
    rng = np.random.default_rng(seed)
    rows, entries = [], []
    for split in range(splits):
        ids = rng.permutation(3 * users)[:users]
        entries.append(
            describe_split(
                {"unseen": ids},
                items=["new items"],
                group_by="prompt",
                digest=str(split),
                split=split,
            )
        )
        for shots, control, mean in (
            (0, None, 0.0),
            (20, None, gain),
            (20, MISMATCHED_USER, other),
        ):
            accuracy = rng.binomial(pairs, 0.65 + mean, users) / pairs
            rows.append(
                {
                    **{
                        "data": "",
                        "split": split,
                        "users": "unseen",
                        "items": "new items",
                        "method": "m",
                    },
                    **{
                        "control": control,
                        "shots": shots,
                        "num_users": users,
                        "better": 3,
                        "worse": 1,
                    },
                    "per_user": {"accuracy": accuracy},
                }
            )
    return make_results(rows, entries, name="toy", config={}, seed=seed)


def test_rows_against_a_loop_over_users():
    shots, test = preferences(0), preferences(1)
    shown = evaluate(
        {"m": Method(by_shots)},
        [Condition("unseen", "new items", shots, test)],
        shots=(0, 3),
        seed=5,
    )
    kept = {(row["control"], row["shots"]): row for row in shown}
    assert set(kept) == {(None, 0), (None, 3), (MISMATCHED_USER, 3)}
    swap = derangement(USERS, seed=5)
    drawn = draw_shots(shots, 3, seed=5)
    for (control, count), row in kept.items():
        accuracy, loss, brier, better, worse = [], [], [], 0, 0
        for u in range(USERS):
            giver = u if control is None else int(np.flatnonzero(swap == u)[0])
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
            wins, losses = (right > without).sum(), (right < without).sum()
            better += binom.sf(wins - 1, wins + losses, 0.5) <= 0.025
            worse += binom.sf(losses - 1, wins + losses, 0.5) <= 0.025
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
        }
        expected["bottom_decile"] = min(accuracy)
        for name, value in expected.items():
            np.testing.assert_allclose(row[name], value, rtol=1e-5, err_msg=name)
        assert row["calibration"]["count"].sum() == test.num_pairs
        assert row["ece_bias"] > 0


def test_seen_users_keep_the_weights_of_the_fit_and_controls_swap_them():
    prefs = preferences(0)
    offset = np.linspace(-3, 3, USERS).astype(np.float32)
    fitted = Method(
        by_shots, lambda _, test: Margins(offset[test.user], np.zeros(test.num_pairs, np.float32))
    )
    rows = evaluate({"m": fitted}, [Condition("seen", "new items", prefs, prefs)], seed=0)
    assert [(row["control"], row["shots"]) for row in rows] == [
        (None, 0),
        (None, None),
        (MISMATCHED_USER, None),
    ]
    tested = prefs.pairs_per_user() > 0
    np.testing.assert_array_equal(
        rows[1]["per_user"]["accuracy"][tested], metrics.correct(offset)[tested]
    )
    giver = np.argsort(derangement(USERS, seed=0))
    np.testing.assert_array_equal(
        rows[2]["per_user"]["accuracy"][tested], metrics.correct(offset[giver])[tested]
    )


def test_a_model_is_adapted_and_the_cells_of_a_split_are_all_there():
    prefs = preferences(3, users=12, pairs=30)
    model = Model(
        LinearBasis(2),
        {"V": jnp.eye(3)[:, :2]},
        jnp.ones(()),
        Population(jnp.eye(2)[0], jnp.eye(2)[:, 1:]),
        "gaussian",
    )
    split = four_way(prefs, group_by="prompt", seed=0)
    rows = evaluate(
        {"m": Method(adapting(model))}, conditions(split), shots=(0, 4), data="d", split=7, seed=0
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


def test_cells_of_different_users_are_refused():
    with pytest.raises(ValueError, match="shots are of 9 users, the test pairs of 5"):
        evaluate(
            {}, [Condition("unseen", "new items", preferences(0), preferences(0, users=5))], seed=0
        )


@pytest.mark.parametrize("count", [2, 3, 10, 1001])
def test_derangement_leaves_nobody_in_place(count):
    for seed in range(20):
        swap = derangement(count, seed=seed)
        assert (swap != np.arange(count)).all()
        np.testing.assert_array_equal(np.sort(swap), np.arange(count))


def test_one_user_has_nobody_to_trade_with():
    with pytest.raises(ValueError, match="1 users cannot trade"):
        derangement(1, seed=0)
    rows = evaluate(
        {"m": Method(by_shots)},
        [Condition("unseen", "new items", preferences(0, 1, 5), preferences(1, 1, 5))],
        seed=0,
    )
    assert all(row["control"] is None for row in rows)


def test_shuffled_users_keep_their_counts_and_all_pairs():
    prefs = preferences(0, users=40)
    shuffled = permute_users(prefs, seed=1)
    np.testing.assert_array_equal(shuffled.pairs_per_user(), prefs.pairs_per_user())
    assert sorted(zip(shuffled.chosen, shuffled.rejected, strict=True)) == sorted(
        zip(prefs.chosen, prefs.rejected, strict=True)
    )
    assert (np.diff(shuffled.user) >= 0).all()
    of_row = dict(zip(prefs.row.tolist(), prefs.user.tolist(), strict=True))
    same = np.mean(
        [
            of_row[row] == user
            for row, user in zip(shuffled.row.tolist(), shuffled.user, strict=True)
        ]
    )
    assert same < 0.15


def test_the_sentence_says_no_where_users_do_not_differ():
    said = [conclude(toy_results(0.0, seed), "m") for seed in range(100)]
    assert (
        sum(one["helps"] for one in said) <= 5
    )  # 2.5 by chance at most: both comparisons must agree
    assert said[0]["statement"].startswith("No evidence that personalising helps on this data")


def test_the_sentence_says_yes_to_a_planted_difference():
    said = [conclude(toy_results(0.03, seed, users=500, splits=3), "m") for seed in range(20)]
    assert sum(one["helps"] for one in said) == 20
    mean, low, high = (100 * value for value in said[0]["over_population"])
    expected = f"Personalising helps: +{mean:.1f} points at 20 shots (95 % interval {low:.1f} to {high:.1f}, 3 splits)"
    assert said[0]["statement"] == expected
    assert said[0]["users"] == 1500
    assert said[0]["better"] == 9


def test_gaining_as_much_from_others_is_no_evidence():
    said = conclude(toy_results(0.1, 0, other=0.1), "m")
    assert said["over_population"][1] > 0
    assert not said["helps"]
    assert said["statement"].endswith("another user's weights do as well")


def test_pooled_counts_give_the_calibration_of_all_pairs_together():
    rng = np.random.default_rng(1)
    parts = [np.clip(rng.beta(3, 2, 4000), 0.001, 0.999) for _ in range(3)]
    pooled, together = pool([count_confidences(part) for part in parts]), np.concatenate(parts)
    np.testing.assert_allclose(
        pooled.error, metrics.expected_calibration_error(together), atol=2e-3
    )
    np.testing.assert_allclose(pooled.floor, metrics.ece_bias(together, rng), rtol=0.1)
    assert pooled.count.sum() == 12_000
    assert pooled.count.min() > 0.7 * 12_000 / 15
    assert np.isnan(pool([count_confidences(np.zeros(0))]).error)


def test_results_survive_json_and_joining(tmp_path):
    parts = []
    for split in range(2):
        condition = Condition("unseen", "new items", preferences(split), preferences(split + 9))
        rows = evaluate({"m": Method(by_shots)}, [condition], shots=(0, 3), split=split, seed=0)
        parts.append(
            make_results(rows, [entry(split=split)], name="t", config={"shots": (0, 3)}, seed=0)
        )
        write_results(tmp_path / f"{split}.json", parts[-1])
    read = [read_results(tmp_path / f"{split}.json") for split in range(2)]
    assert read == parts
    assert json.loads(json.dumps(parts, allow_nan=False)) == parts
    joined = join(read)
    assert len(joined["rows"]) == 6
    assert len(select(joined, control=None, shots=3)) == 2
    np.testing.assert_array_equal(users_of(joined, joined["rows"][-1]), np.arange(USERS))
    with pytest.raises(ValueError, match=r"split 0 of '' \(new items\) is in two"):
        join([read[0], read[0]])
    (tmp_path / "other.json").write_text('{"format": 99, "rows": []}')
    with pytest.raises(ValueError, match="format 1: its format is 99"):
        read_results(tmp_path / "other.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        read_results(tmp_path / "bad.json")


def test_plain_numbers():
    assert plain(
        {
            "a": np.float32(0.5),
            "b": (np.nan, np.inf),
            "c": np.arange(2),
            3: metrics.Interval(1.0, 0.0, 2.0),
        }
    ) == {
        "a": 0.5,
        "b": [None, None],
        "c": [0, 1],
        "3": {"mean": 1.0, "low": 0.0, "high": 2.0},
    }


def test_averages_and_differences_by_hand():
    results = toy_results(0.05, 0)
    where = {"method": "m", "control": None, "shots": 20}
    rows = select(results, **where)
    expected = np.mean([np.mean(row["per_user"]["accuracy"]) for row in rows])
    np.testing.assert_allclose(average(results, where).mean, expected)
    without = np.mean([np.mean(row["per_user"]["accuracy"]) for row in select(results, shots=0)])
    np.testing.assert_allclose(
        difference(results, where, {**where, "shots": 0}).mean, expected - without
    )
    with pytest.raises(ValueError, match="names several rows"):
        average(results, {"method": "m"})
    with pytest.raises(ValueError, match="no row has"):
        average(results, {"method": "n"})


def test_data_sets_count_equally():
    small, large = toy_results(0.0, 0, users=10, splits=1), toy_results(0.3, 1, users=300, splits=1)
    for part, name in ((small, "small"), (large, "large")):
        for one in (*part["rows"], *part["splits"]):
            one["data"] = name
    where = {"method": "m", "control": None, "shots": 20}
    expected = [
        np.mean(select(part, **where)[0]["per_user"]["accuracy"]) for part in (small, large)
    ]
    np.testing.assert_allclose(average(join([small, large]), where).mean, np.mean(expected))


def test_tables_hold_every_method_population_and_control():
    condition = Condition("unseen", "new items", preferences(0), preferences(1))
    methods = {
        "personal": Method(by_shots),
        "same": Method(lambda shots, test: by_shots(shots.take_pairs(shots.row < 0), test)),
    }
    rows = evaluate(methods, [condition], shots=(0, 3), seed=0)
    results = make_results(rows, [entry()], name="t", config={}, seed=0)
    assert is_personal(results, "personal")
    assert not is_personal(results, "same")
    text = table(results, method_lines(results), four_way_columns(results, shots=3))
    assert text.splitlines()[0].split("|")[2].strip() == "unseen users (3 shots), unseen prompts"
    labels = [line.split("|")[1].strip() for line in text.splitlines()[2:]]
    assert labels == [
        "personal, 0 shots (population)",
        "personal",
        "personal, another user's weights",
        "same",
    ]
    accuracy = 100 * select(results, method="personal", control=None, shots=3)[0]["accuracy"]
    assert text.splitlines()[3].split("|")[2].strip().startswith(f"{accuracy:.1f} (")
    assert list(shots_columns(results)) == ["0 shots", "3 shots"]
