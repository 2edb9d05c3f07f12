"""A saved model of answers predicts every outcome as before; nothing else is taken for one."""

import jax
import numpy as np
import pytest
from small_objects import small_objects

import lore_jax as lore
from lore_jax.storage.checkpoint.store import CheckpointStore
from lore_jax.users.saved_answers import holds_answers


@pytest.fixture(scope="module")
def fitted():
    small = small_objects()
    answers = lore.begin_answers(small["feedback"], ties="rao-kupper", lapse=0.05)
    users = lore.adapt_answers(small["model"], answers, small["feedback"])
    return small["model"], answers, users, small["feedback"]


def test_what_is_loaded_predicts_as_what_was_saved(fitted, tmp_path):
    model, answers, users, feedback = fitted
    lore.save_answers(tmp_path / "model", model, answers, users, encoder={"model": "tiny"})
    again = lore.load_answers(tmp_path / "model")
    for a, b in zip(jax.tree.leaves((answers, users)), jax.tree.leaves(again[1:]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (again[1].ties, again[1].lapse) == ("rao-kupper", 0.05)
    before = lore.answer_probabilities(model, answers, users, feedback)
    after = lore.answer_probabilities(again[0], again[1], again[2], feedback)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a.log_probability, b.log_probability)


def test_it_is_a_saved_model_for_whatever_takes_one(fitted, tmp_path):
    model, answers, users, _ = fitted
    lore.save_answers(tmp_path / "model", model, answers, users)
    _, known = lore.load(tmp_path / "model")
    np.testing.assert_array_equal(known.weights, users.users.weights)
    assert holds_answers(tmp_path / "model")


def test_users_and_scales_may_be_missing(fitted, tmp_path):
    model, _, _, feedback = fitted
    answers = lore.begin_answers(feedback.take_kinds("pair", "ranking"))
    lore.save_answers(tmp_path / "model", model, answers)
    _, again, users = lore.load_answers(tmp_path / "model")
    assert (again.free, users) == ({}, None)


def test_a_model_of_pairs_is_told_apart(fitted, tmp_path):
    lore.save(tmp_path / "model", fitted[0])
    assert not holds_answers(tmp_path / "model")
    with pytest.raises(ValueError, match="a model of pairs alone"):
        lore.load_answers(tmp_path / "model")


def test_nothing_is_overwritten_unasked(fitted, tmp_path):
    model, answers, _, _ = fitted
    lore.save_answers(tmp_path / "model", model, answers)
    with pytest.raises(FileExistsError, match="holds a model already"):
        lore.save_answers(tmp_path / "model", model, answers)
    lore.save_answers(tmp_path / "model", model, answers, overwrite=True)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s, e: s["answers"]["free"].pop("tie 3"), "the scale 'tie 3' is missing"),
        (lambda s, e: s["answers"].pop("intercept"), "answers/intercept is missing"),
        (
            lambda s, e: s["answers"]["free"].update({"rating 5": np.zeros(7)}),
            r"'rating 5' has parameters of shape \(7,\): 4 finite ones are expected",
        ),
        (
            lambda s, e: s["answers"]["free"].update({"tie 3": np.full(1, np.nan)}),
            "1 finite ones",
        ),
        (lambda s, e: e["answers"].update(ties="wavy"), "ties is 'wavy'"),
        (lambda s, e: e["answers"]["scales"].append("mood 3"), "the scale 'mood 3' is missing"),
        (lambda s, e: s["intercepts"].pop("intercept_variance"), "intercept_variance is missing"),
    ],
)
def test_what_does_not_fit_together_is_refused(fitted, tmp_path, change, match):
    model, answers, users, _ = fitted
    lore.save_answers(tmp_path / "model", model, answers, users)
    with CheckpointStore(tmp_path / "model", keep=1) as store:
        restored = store.restore()
    state, extra = _nested(restored.state), restored.extra
    change(state, extra)
    with CheckpointStore(tmp_path / "changed", keep=1) as store:
        store.save(0, state, extra)
    with pytest.raises(ValueError, match=match):
        lore.load_answers(tmp_path / "changed")


def _nested(flat):
    tree = {}
    for name, value in flat.items():
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = np.asarray(value)
    return tree
