"""From a cache of ties, ratings and rankings to its page: every command knows what was said."""

import json

import numpy as np
import pytest
from command_line import run
from small_answers import QUICK_OPTIONS, small_answers, write_answers_cache

import lore_jax as lore
from lore_jax.cli.main import main
from lore_jax.evaluation.answer_gains import answer_gains
from lore_jax.evaluation.results import methods_of, read_results

METHODS = ["gaussian", "gaussian, strict pairs", "ridge BT"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cache of answers, and a run of it."""
    folder = tmp_path_factory.mktemp("answers")
    write_answers_cache(folder / "cache")
    assert main(["fit", str(folder / "cache"), "--out", str(folder / "run"), *QUICK_OPTIONS]) == 0
    return folder


def test_a_finished_run_says_what_it_has_fitted(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    out = run(capsys, "fit", "cache", "--out", "run", "--resume", *QUICK_OPTIONS)
    assert "answers of 17 seen users fitted; 7 users kept for the test" in out
    assert "24 of 24 users kept, with 480 answers" in out
    assert "answers of 17 users fitted, 7 users kept for the test" in run(capsys, "inspect", "run")


def test_from_a_run_to_its_page(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    out = run(capsys, "evaluate", "run", "--shots", "0", "8")
    assert "Unseen users after 8 answers, new prompts, by what was said" in out
    for kind in (*map(str, (block.kind for block in small_answers().blocks)), "all answers"):
        assert f"\n| {kind} " in out
    assert "with up to 8 answers" in out or "no answer is predicted otherwise" in out
    assert "the strict pairs they make" in out
    results = read_results("run/results.json")
    assert methods_of(results)[:3] == METHODS
    assert {gain.where.users for gain in answer_gains(results)} == {"seen", "unseen"}
    card = (folder / "run" / "model" / "README.md").read_text()
    assert "lore.load_answers" in card
    assert "by what was said" in card
    # the same page again, from the results
    run(capsys, "report", "run", "--out", "page.html")
    page = (folder / "page.html").read_text()
    assert "What people said, answer by answer" in page
    assert "answers of a user" in page


def test_new_users_are_known_by_their_answers(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    out = run(capsys, "adapt", "run", "cache", "--out", "adapted", "--export", "users.parquet")
    assert "24 users adapted on 480 answers, the median user on 20" in out
    model, answers, users = lore.load_answers("adapted")
    expected = lore.adapt_answers(model, answers, lore.load_feedback("cache"))
    np.testing.assert_allclose(users.users.weights, expected.users.weights, atol=1e-4)
    np.testing.assert_allclose(users.intercept, expected.intercept, atol=1e-4)
    out = run(capsys, "inspect", "adapted")
    assert "answers as they were said: rating 5, tie 3; ties by davidson" in out
    out = run(capsys, "score", "adapted", "cache", "--out", "best.jsonl", "--top-k", "1")
    assert len((folder / "best.jsonl").read_text().splitlines()) == 24
    rows = [json.loads(line) for line in (folder / "best.jsonl").read_text().splitlines()]
    assert rows[0]["user_id"] == "user 0"


def test_what_does_not_fit_is_one_line_and_nothing_is_written(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    line = run(capsys, "evaluate", "run", "--out", "x.json", "--learning-curve", status=2)
    assert "--learning-curve fits strict pairs" in line
    assert not (folder / "x.json").exists()
    line = run(
        capsys,
        *("fit", "cache", "--out", "other", "--answers.fit", "as said", "--method", "simplex"),
        status=2,
    )
    assert "the method is SimplexConfig: a PopulationConfig is expected" in line
    assert not (folder / "other").exists()
    line = run(capsys, "adapt", "run", "cache", "--out", "means", "--weights", "mean", status=2)
    assert "weights is mean, but run has fitted answers as they were said: only pairs" in line
    assert not (folder / "means").exists()
