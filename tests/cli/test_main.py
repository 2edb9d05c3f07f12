"""The command line: help without waiting, one line for an error, results for people and for
machines.
"""

import html
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from command_line import run
from small_run import QUICK_OPTIONS, write_small_cache

from lore_jax.cli.main import main
from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.results import Where, read_results, select
from lore_jax.export.parquet import hash_user_ids
from lore_jax.methods.base import BasisPredictor
from lore_jax.model.saved import load
from lore_jax.runs.folder import read_run
from lore_jax.storage.cache.reader import load_cache
from lore_jax.users.adapt import adapt
from lore_jax.users.score import score


def run_python(*arguments):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=60
    )


def test_help_is_a_table_and_does_not_wait_for_jax(here):
    code = (
        "import sys; from lore_jax.cli import main as cli; cli.main(['--help']);"
        "assert not {'jax', 'numpy'} & set(sys.modules)"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    commands = [
        "demo",
        "prepare",
        "embed",
        "fit",
        "adapt",
        "ask",
        "evaluate",
        "score",
        "pick",
        "relabel",
        "merge",
        "inspect",
        "report",
    ]
    for command in commands:
        assert f"\n  {command}" in done.stdout


@pytest.mark.parametrize("command", ["prepare", "embed", "inspect"])
def test_help_of_light_commands_does_not_import_jax(command, here):
    code = (
        f"import sys; from lore_jax.cli import main as cli; cli.main(['{command}', '--help']);"
        "assert 'jax' not in sys.modules"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert f"usage: lore-jax {command}" in done.stdout
    assert "--debug" in done.stdout


def test_python_m_and_version(here):
    done = run_python("-m", "lore_jax", "prepar")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "lore-jax: there is no command 'prepar': is prepare meant? See lore-jax --help\n"
    )


def test_an_output_that_is_closed_or_full_ends_without_a_traceback(here):
    command = [sys.executable, "-m", "lore_jax", "--version"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=env, **pipes, text=True) as closed:
        closed.stdout.close()
        assert (closed.stderr.read(), closed.wait()) == ("", 0)
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, env=env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.stderr, done.returncode) == ("lore-jax: No space left on device\n", 2)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError("Unable to allocate 7 TiB"), "there is not enough memory: Unable to all"),
        (MemoryError(), "there is not enough memory: for what was asked"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of"), "there is not enough memory: RESOURCE_EXHAU"),
    ],
)
def test_too_little_memory_is_said_in_words(capsys, monkeypatch, error, line):
    def fail(config):
        raise error

    monkeypatch.setattr("lore_jax.cli.inspect.run", fail)
    assert run(capsys, "inspect", "cache", status=2).startswith(f"lore-jax: {line}")


def test_debug_shows_the_traceback(here, capsys):
    assert "Traceback" in run(capsys, "inspect", "nothing", "--debug", status=2)


def test_from_a_cache_to_its_evaluation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_small_cache(tmp_path / "cache")
    write_small_cache(tmp_path / "new", seed=0)  # the same responses: one table for everybody
    out = run(capsys, "fit", "cache", "--out", "run", "--devices", "1", *QUICK_OPTIONS)
    assert "step 25 of 25: loss" in out
    assert "rank 2" in out
    # the same again, from its configuration; of what is said here too, the latter counts
    run(capsys, "fit", "cache", "--out", "again", "--devices", "1", "--config", "run/run.json")
    again, first = (read_run(name).manifest for name in ("again", "run"))
    assert (again["config"], again["split"]) == (first["config"], first["split"])
    shutil.rmtree("again")
    options = ["--devices", "1", "--config", "run/run.json", "--steps", "3"]
    assert "step 3 of 3" in run(capsys, "fit", "cache", "--out", "again", *options)
    report = run(capsys, "inspect", "run")
    assert "run: a run, finished" in report
    assert "25 of 25 steps, checkpoints of 20, 25" in report
    assert "no corruption found" in report
    # new users
    out = run(
        capsys, "adapt", "run", "new", "--out", "adapted", "--export", "users.parquet", "--hash-ids"
    )
    assert "25 users adapted on 240 pairs, the median user on 10" in out
    assert "1 users without pairs have the population" in out
    exported = pd.read_parquet("users.parquet")
    model, users = load("adapted")
    expected = adapt(model, load_cache("new"))
    np.testing.assert_allclose(users.weights, expected.weights)
    np.testing.assert_array_equal(np.stack(exported["weights"]), users.weights)
    assert (
        exported["user_id"].tolist()
        == users.user_ids.tolist()
        == hash_user_ids(load_cache("new").user_ids).tolist()
    )
    # the best candidates of every user, in a file for people and in one for machines
    run(capsys, "score", "adapted", "new", "--out", "best.jsonl", "--top-k", "2")
    best = [json.loads(line) for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    scores = score(model, users, load_cache("new").embeddings)
    assert [row["response"] for row in best[:2]] == np.argsort(-scores[0])[:2].tolist()
    assert len(best) == 2 * 25
    run(capsys, "score", "adapted", "new", "--out", "all.parquet", "--top-k", "None")
    frame = pd.read_parquet("all.parquet")
    assert len(frame) == 25 * 120
    np.testing.assert_allclose(frame["score"][:120], -np.sort(-scores[0]), rtol=1e-5)
    # how good it is
    out = run(capsys, "evaluate", "run", "--shots", "0", "5", "--no-baselines")
    assert "personalising helps" in out.lower()
    assert "simplex, another user's weights" in out
    results = read_results("run/results.json")
    split = read_run("run").load_parts()
    row = select(results, Where(users="unseen", items="new items", shots=5, control=None))[0]
    method_row = evaluate(
        {"simplex": BasisPredictor(*load("run/model"))},
        [Condition("unseen", "new items", split.shots, split.tests["unseen", "new items"])],
        shots=(5,),
        seed=0,
    )[0]
    assert row["accuracy"] == pytest.approx(method_row["accuracy"], abs=1e-6)
    summary = json.loads(run(capsys, "evaluate", "run", "--no-baselines", "--overwrite", "--json"))
    assert summary["conclusion"]["splits"] == 1
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: lore_jax\n")
    assert summary["conclusion"]["statement"] in card
    assert "evaluated: results.json" in run(capsys, "inspect", "run")
    run(capsys, "report", "run", "--out", "page.html", "--note", "Made-up people.")
    page = (tmp_path / "page.html").read_text()
    assert "Made-up people." in page
    assert html.escape(summary["conclusion"]["statement"]) in page
    assert "Axis 1" in page
    described = read_results("run/results.json")["axes"]["cache"]
    assert {name: len(scores) for name, scores in described["groups"].items()} == {
        "seen users": split.train.num_users,
        "unseen users": split.shots.num_users,
    }
    assert (
        f"effective rank of the disagreement {described['diagnostics']['effective_rank']:.1f} of 1"
        in page
    )
    assert "effective rank of the disagreement" in run(capsys, "inspect", "run")
    (tmp_path / "run" / "checkpoints" / "25" / "arrays" / "_METADATA").write_bytes(b"")
    assert "25/arrays/_METADATA is truncated" in run(capsys, "inspect", "run", status=1)


def test_fit_says_once_what_it_keeps(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_small_cache(tmp_path / "cache")
    options = ["--method", "reference", "--split.items", "new items", "--devices", "1"]
    assert main(["fit", "cache", "--out", "run", *options]) == 0
    said = capsys.readouterr()
    (kept, few) = read_run("run").manifest["split"]["summary"]
    assert said.err == f"lore-jax: {kept}\nlore-jax: {few}\n"  # before the fit
    assert len(said.out.splitlines()) == 3  # the folder, what was fitted, and what to do
    assert said.out.splitlines()[2] == f"  {few}"
    assert "groups: " not in said.out
    assert main(["fit", "cache", "--out", "run", *options, "--resume"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[2:] == [f"  {kept}", f"  {few}"]
    assert main(["fit", "cache", "--out", "run", *options, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["split"]["summary"] == [kept, few]


def test_evaluated_on_other_pairs_of_its_users(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_small_cache(tmp_path / "cache")
    run(
        capsys,
        "fit",
        "cache",
        "--out",
        "run",
        "--method",
        "reference",
        "--devices",
        "1",
        "--split.everything",
    )
    run(capsys, "inspect", "run")
    # 3 users of the run and a stranger, on responses of the run and on a new one
    prefs = load_cache("cache")
    new = np.concatenate([prefs.embeddings, 2 * prefs.embeddings[:1]])
    np.save("new.npy", new)
    rows = [
        ("user 0", 0, 4),
        ("user 1", 3, 120),
        ("user 1", 7, 120),
        ("user 2", 0, 8),
        ("stranger", 0, 1),
    ]
    lines = [
        json.dumps({"user_id": u, "chosen": c, "rejected": r, "prompt_id": 0}) for u, c, r in rows
    ]
    (tmp_path / "new.jsonl").write_text("\n".join(lines))
    run(
        capsys,
        "prepare",
        "new.jsonl",
        "--embeddings",
        "new.npy",
        "--encoder",
        "synthetic",
        "--out",
        "test",
    )
    options = ["--test", "test", "--out", "test.json", "--no-baselines"]
    run(capsys, "evaluate", "run", *options)
    results = read_results("test.json")
    counts = {
        row["items"]: row["num_pairs"] for row in select(results, Where(shots=None, control=None))
    }
    assert counts == {"known items": 2, "new items": 2}
    assert results["splits"][0]["dropped"] == {"pairs_of_unknown_users": 1}
    right = np.array([new[c] @ prefs.head > new[r] @ prefs.head for _, c, r in rows])
    (row,) = select(results, Where(items="known items", shots=None, control=None))
    assert row["per_user"]["accuracy"] == [float(right[0]), None, float(right[3])]
