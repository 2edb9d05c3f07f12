"""A run of answers fits them as said, ends where an unbroken one ends, and keeps them apart."""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest
from small_answers import KINDS, QUICK_ANSWERS, small_answers, write_answers_cache
from small_run import QUICK, write_small_cache

import lore_jax as lore
from lore_jax.data.answer_split import split_answers
from lore_jax.data.feedback import Feedback
from lore_jax.data.preferences import Preferences
from lore_jax.fitting.feedback import fit_feedback
from lore_jax.runs.config import AnswersConfig, RunConfig, decisive, from_decisive
from lore_jax.runs.folder import begin_run, read_run
from lore_jax.runs.material import load_material, split_material
from lore_jax.runs.run import run_fit
from lore_jax.runs.test_sets import answer_conditions, by_strict_pairs, run_conditions
from lore_jax.storage.cache.answers import answer_kinds


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return write_answers_cache(tmp_path_factory.mktemp("cache") / "cache")


@pytest.fixture(scope="module")
def unbroken(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "unbroken"
    assert run_fit(cache, path, QUICK_ANSWERS).run.is_finished
    return path


def as_(fit, config=QUICK_ANSWERS):
    return dataclasses.replace(config, answers=AnswersConfig(fit))


def test_a_cache_says_which_kinds_it_holds(cache, tmp_path):
    assert sorted(map(str, answer_kinds(cache))) == sorted(map(str, KINDS))
    assert answer_kinds(write_small_cache(tmp_path / "pairs")) == []


def test_answers_are_fitted_as_said_unless_the_method_or_the_user_wants_pairs(cache, tmp_path):
    material, (line,) = load_material(cache, QUICK_ANSWERS)
    assert isinstance(material, Feedback)
    assert line.startswith("answers are fitted as they were said, 192 pairs or ties, 96 rankings")
    assert "--answers.fit pairs" in line
    material, (line,) = load_material(cache, as_("pairs"))
    assert isinstance(material, Preferences)
    assert line.endswith("the strict pairs they make are fitted, as asked for")
    material, (line,) = load_material(cache, QUICK)
    assert isinstance(material, Preferences)
    assert line.endswith("which is what simplex takes")
    pairs = write_small_cache(tmp_path / "pairs")
    assert load_material(pairs, QUICK_ANSWERS)[1] == []
    assert isinstance(load_material(pairs, as_("as said"))[0], Feedback)
    with pytest.raises(ValueError, match="the method is SimplexConfig: a PopulationConfig is"):
        load_material(cache, as_("as said", QUICK))


def test_a_run_is_the_fit_of_its_training_answers(cache, unbroken):
    feedback = lore.load_feedback(cache)
    split = split_answers(feedback, items=("new items",), seed=0)
    expected = fit_feedback(split.train, QUICK_ANSWERS.fit, key=0)
    model, answers, users = lore.load_answers(unbroken)
    for one, other in zip(
        jax.tree.leaves((answers, users.intercept, users.users.weights)),
        jax.tree.leaves((expected.answers, expected.users.intercept, expected.users.users.weights)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=2e-4)
    np.testing.assert_array_equal(users.users.user_ids, split.train.user_ids)
    log = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([row["loss"] for row in log], expected.loss, atol=1e-5)
    assert lore.load(unbroken)[1].num_users == split.train.num_users
    assert model.rank == 2


def test_a_killed_run_ends_where_an_unbroken_one_ends(cache, unbroken, tmp_path):
    def die(row):
        if row["step"] == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    report = run_fit(cache, tmp_path / "run", QUICK_ANSWERS, on_metrics=die)
    assert (report.step, report.run.is_finished) == (10, False)
    report = run_fit(cache, tmp_path / "run", QUICK_ANSWERS, resume=True)
    assert (report.resumed_from, report.step) == (10, 12)
    for one, other in zip(
        *(jax.tree.leaves(lore.load_answers(path)) for path in (tmp_path / "run", unbroken)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_the_split_is_kept_and_its_pairs_are_those_of_its_answers(cache, unbroken):
    run = read_run(unbroken)
    assert run.as_said
    parts, pairs = run.load_answer_parts(), run.load_parts()
    split = split_answers(lore.load_feedback(cache), items=("new items",), seed=0)
    assert run.manifest["split"]["digest"] == split.digest
    for mine, theirs in ((parts.train, split.train), (parts.shots, split.shots)):
        for a, b in zip(mine.blocks, theirs.blocks, strict=True):
            np.testing.assert_array_equal(a.items, b.items)
            np.testing.assert_array_equal(a.outcome, b.outcome)
    assert pairs.train.num_users == parts.train.num_users
    conditions = by_strict_pairs(answer_conditions(parts))
    for one, other in zip(conditions, run_conditions(pairs), strict=True):
        assert (one.users, one.items) == (other.users, other.items)
        np.testing.assert_array_equal(one.test.chosen, other.test.chosen)


def test_everything_is_fitted_where_nothing_is_kept(cache, unbroken, tmp_path):
    everything = dataclasses.replace(QUICK_ANSWERS.split, everything=True)
    config = dataclasses.replace(QUICK_ANSWERS, split=everything)
    assert split_material(lore.load_feedback(cache), config) is None
    names = ("config", "choice", "steps", "validation", "devices", "as_said")
    about = {name: read_run(unbroken).manifest[name] for name in names}
    run = begin_run(tmp_path / "run", cache, None, about)
    assert run.load_answer_parts().train.num_answers == small_answers().num_answers
    with pytest.raises(ValueError, match="there is nothing to test on"):
        answer_conditions(run.load_answer_parts())


def test_other_options_of_answers_do_not_go_on_with_a_run(cache, unbroken):
    other = dataclasses.replace(QUICK_ANSWERS, answers=AnswersConfig(lapse=0.1))
    with pytest.raises(ValueError, match=r"cannot go on with answers\.lapse 0\.1 \(it has 0\.0\)"):
        run_fit(cache, unbroken, other, resume=True)


def test_a_run_older_than_these_options_goes_on(cache, unbroken):
    plain = decisive(QUICK_ANSWERS)
    del plain["answers"]
    assert from_decisive(plain, "run.json") == RunConfig(
        fit=QUICK_ANSWERS.fit, split=QUICK_ANSWERS.split, chunk=5
    )


def test_bad_options_are_one_line(cache, tmp_path):
    with pytest.raises(ValueError, match=r"lapse is 1\.5: a share"):
        AnswersConfig(lapse=1.5)
    wrong = dataclasses.replace(QUICK_ANSWERS.fit.method, logit_scale=2.0)
    config = as_("as said", dataclasses.replace(QUICK_ANSWERS, fit=lore.FitConfig(wrong)))
    with pytest.raises(ValueError, match="logit_scale is 2"):
        run_fit(cache, tmp_path / "run", config)
    assert not (tmp_path / "run").exists()
