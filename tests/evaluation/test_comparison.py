"""Methods on one split: nobody sees the test, all see the same folds, failures are told."""

import dataclasses

import jax
import numpy as np
import pytest
from compared import (
    CONFIG,
    Diverging,
    Refusing,
    Spying,
    SpyingBradleyTerry,
    SpyingSimplex,
    TooLarge,
    entry,
    fold_marks,
    small_split,
)

import lore_jax as lore
from lore_jax.evaluation.comparison import ComparisonConfig, compare
from lore_jax.evaluation.evaluate import evaluate
from lore_jax.methods.base import BasisPredictor
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.model.model import response_keys

SIMPLEX = SpyingSimplex(steps=5, temperature=1.0)


def keys_of(table):
    """The rows of a table, whatever their order; rows of zeros are padding."""
    table = np.asarray(table, np.float32)
    table = table.reshape(-1, table.shape[-1])
    return set(map(bytes, response_keys(table[np.any(table != 0, axis=1)])))


def pairs_of(prefs):
    """Pairs by the embeddings of both sides."""
    keys = response_keys(prefs.embeddings)
    return set(zip(map(bytes, keys[prefs.chosen]), map(bytes, keys[prefs.rejected]), strict=True))


@pytest.fixture(scope="module")
def compared():
    Spying.seen.clear()
    methods = {
        "one": entry(SpyingBradleyTerry()),
        "refusing": entry(Refusing()),
        "diverging": entry(Diverging()),
        "diverging, given": entry(Diverging(ridge=3.0)),
        "items": entry(BradleyTerryConfig(), needs="known items", known_items_only=True),
        "too large": entry(TooLarge()),
        "two": entry(SIMPLEX),
    }
    fits = []
    result = compare(methods, small_split(), CONFIG, data="d", seed=0, announce=fits.append)
    jax.effects_barrier()
    assert fits == result.fits
    return result


def test_no_method_sees_the_test(compared):
    split = small_split()
    known = keys_of(split.train.take_responses().embeddings)
    tested = [condition.test for condition in split.conditions]
    new = {key for test in tested for key in keys_of(test.take_responses().embeddings)}
    assert not new & known  # prompts, and with them responses, are held out
    held_out = {pair for test in tested for pair in pairs_of(test)}
    shots = pairs_of(next(c for c in split.conditions if c.users == "unseen").shots)
    for name in ("SpyingBradleyTerry", "SpyingSimplex"):
        given = Spying.seen[name, "prefs"]
        assert len(given) > 4
        for prefs in given:
            if prefs.dim == split.train.dim:  # a table of coordinates is wider
                assert keys_of(prefs.embeddings) <= known
                pairs = pairs_of(prefs)
                assert pairs <= pairs_of(split.train)
                assert not pairs & held_out
                # What unseen users say is theirs alone, unless a seen user has said the same.
                assert not pairs & (shots - pairs_of(split.train))
    for table in Spying.seen["SpyingSimplex", "table"]:
        assert keys_of(table) <= known
    # Ridge Bradley-Terry chooses in coordinates of its own: the same lengths, of known rows alone.
    lengths = np.linalg.norm(split.train.take_responses().embeddings, axis=1)
    for table in Spying.seen["SpyingBradleyTerry", "table"]:
        found = np.linalg.norm(np.asarray(table).reshape(-1, table.shape[-1]), axis=1)
        found = found[found > 0]
        nearest = np.abs(found[:, None] - lengths[None]).min(axis=1)
        assert nearest.max() < 1e-4 * lengths.max()


def test_folds_are_the_same_for_all(compared):
    # Fits to all seen users and to half of them, four folds each, drawn three times for fits
    # without steps.
    one, two = (
        fold_marks(Spying.seen[name, "fold"]) for name in ("SpyingBradleyTerry", "SpyingSimplex")
    )
    assert len(two) == 2 * 4
    assert len(one) == 2 * 3 * 4
    assert two <= one


def test_methods_that_fail_say_why_and_the_others_run(compared):
    notes = {fit["method"]: fit["note"] for fit in compared.fits if fit["user_share"] == 1.0}
    assert notes == {
        "one": None,
        "refusing": "cannot run: pairs that several users judged are needed, and there are none",
        "diverging": "diverged: no setting of ridge has a finite loss on all folds",
        "diverging, given": notes["diverging, given"],
        "items": "cannot run: it needs known items, and the test is of new items",
        "too large": "cannot run: Unable to allocate 9 TiB",
        "two": None,
    }
    assert notes["diverging, given"].startswith("diverged: margins of ")
    assert {row["method"] for row in compared.rows} == {"one", "two"}
    assert set(compared.chosen) == {"one", "two"}
    assert all(np.isfinite(row["log_loss"]) for row in compared.rows)


def test_rows_are_those_of_a_fit_alone(compared):
    split = small_split()
    train = split.train.take_responses()
    config = lore.FitConfig(BradleyTerryConfig(), holdout="new items")
    model, users, history = lore.fit(train, config, key=jax.random.key(0))
    alone = evaluate(
        {"one": BasisPredictor(model, users)},
        split.conditions,
        shots=CONFIG.shots,
        data="d",
        with_controls=False,
        seed=0,
    )
    assert compared.chosen["one"] == history.choice
    rows = [row for row in compared.rows if row["method"] == "one"]
    assert [(row["users"], row["shots"]) for row in rows] == [
        (row["users"], row["shots"]) for row in alone
    ]
    for row, other in zip(rows, alone, strict=True):
        np.testing.assert_allclose(row["per_user"]["log_loss"], other["per_user"]["log_loss"])


def test_costs_and_fewer_users(compared):
    fits = {(fit["method"], fit["user_share"]): fit for fit in compared.fits}
    seen = small_split().train.num_users
    assert fits["one", 1.0]["users"] == seen
    assert fits["two", 0.5]["users"] == seen // 2
    assert fits["one", 1.0]["parameters"] == 8 + 1  # a direction, and the weight 1
    for name in ("seconds", "compile_seconds", "adapt_one_ms", "adapt_thousand_ms"):
        assert fits["two", 1.0][name] > 0
    (rows,) = compared.fewer_users.values()
    asked = [(row["method"], row["shots"], row["users"]) for row in rows]
    assert asked == [("one", 5, "unseen"), ("two", 5, "unseen")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots": ()}, r"shots is \(\): numbers of 0 or more"),
        ({"shots": (0, -5)}, r"shots is \(0, -5\): numbers of 0 or more"),
        ({"user_shares": (0.5, 1.0)}, r"user_shares is \(0.5, 1.0\): numbers between 0 and 1"),
        ({"budget": 0.0}, "budget is 0.0: a number of seconds above 0"),
    ],
)
def test_bad_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ComparisonConfig(), **changes)
