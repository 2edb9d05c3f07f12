"""The command line: help without waiting, one line for an error, results for people and for
machines.
"""

import html
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from small_run import QUICK_OPTIONS, write_small_cache

from lore_jax.cli.main import main
from lore_jax.embed.pairs import EmbedReport
from lore_jax.embed.text_encoder import EmbedConfig
from lore_jax.evaluation.evaluate import Condition, evaluate, method
from lore_jax.evaluation.results import Where, read_results, select
from lore_jax.export.parquet import hash_user_ids
from lore_jax.model.saved import load
from lore_jax.runs.folder import read_run
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.cache.reader import load_cache, read_texts
from lore_jax.users.adapt import adapt
from lore_jax.users.score import score

ROWS = [
    {"user_id": "ann", "prompt": "Colour?", "chosen": "Blue.", "rejected": "No.", "mood": "good"},
    {"user_id": "böb", "prompt": "Colour?", "chosen": "No.", "rejected": "Blue.", "mood": None},
    {"user_id": "ann", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No.", "mood": 3},
    {"user_id": "ann", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No.", "mood": 3},
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    np.save("table.npy", np.eye(4, dtype=np.float64))
    return tmp_path


def run(capsys, *arguments, status=0):
    assert main(list(arguments)) == status
    said = capsys.readouterr()
    return said.out if status != 2 else said.err


def run_python(*arguments):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=60
    )


def write_polis(folder, comments, votes):
    folder.mkdir()
    pd.DataFrame(comments, columns=["comment-id", "moderated", "comment-body"]).to_csv(
        folder / "comments.csv", index=False
    )
    frame = pd.DataFrame(votes, columns=["timestamp", "comment-id", "voter-id", "vote"])
    frame.to_csv(folder / "votes.csv", index=False)


def test_help_is_a_table_and_does_not_wait_for_jax(here):
    code = (
        "import sys; from lore_jax.cli import main as cli; cli.main(['--help']);"
        "assert not {'jax', 'numpy', 'tyro'} & set(sys.modules)"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    for command in [
        "demo",
        "prepare",
        "embed",
        "fit",
        "adapt",
        "evaluate",
        "score",
        "inspect",
        "report",
    ]:
        assert f"\n  {command}" in done.stdout


@pytest.mark.parametrize("command", ["prepare", "embed", "inspect"])
def test_help_of_light_commands_does_not_import_jax(command, here):
    code = f"import sys; from lore_jax.cli import main as cli; cli.main(['{command}', '--help']); assert 'jax' not in sys.modules"
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


def test_debug_shows_the_traceback(here, capsys):
    assert "Traceback" in run(capsys, "inspect", "nothing", "--debug", status=2)


def test_texts_with_an_array(here, capsys):
    assert "4 responses" in run(
        capsys, "prepare", "pairs.jsonl", "--list-responses", "responses.jsonl"
    )
    listed = [json.loads(line) for line in (here / "responses.jsonl").read_text().splitlines()]
    assert [response["reply"] for response in listed] == ["Blue.", "No.", "Yes.", "No."]
    out = run(
        capsys,
        "prepare",
        "pairs.jsonl",
        "--embeddings",
        "table.npy",
        "--encoder",
        "eye",
        "--out",
        "cache",
        "--json",
    )
    result = json.loads(out)
    assert (result["responses"], result["pairs"], result["users"], result["duplicated_rows"]) == (
        4,
        4,
        2,
        1,
    )
    assert (result["dtype"], result["prompts"]) == ("float32", 2)
    prefs = load_cache("cache")
    np.testing.assert_array_equal(prefs.embeddings, np.eye(4))
    assert prefs.user_ids.tolist() == ["ann", "böb"]
    np.testing.assert_array_equal(prefs.chosen[np.argsort(prefs.row)], [0, 1, 2, 2])
    assert [reply for _, reply in read_texts("cache")] == ["Blue.", "No.", "Yes.", "No."]
    assert json.loads((here / "cache" / "extra.jsonl").read_text().splitlines()[0]) == {
        "mood": "good"
    }
    assert read_manifest("cache")["encoder"] == {"model": "eye"}
    assert "4 responses, dim 4, float32, by eye" in run(capsys, "inspect", "cache")


def test_numbers_with_an_array_in_parquet_and_a_head(here, capsys):
    pd.DataFrame({"user_id": [5, 7], "chosen": [0, 3], "rejected": [1, 0]}).to_parquet(
        "pairs.parquet"
    )
    np.save("head.npy", np.arange(4.0))
    options = [
        "--embeddings",
        "table.npy",
        "--encoder",
        "eye",
        "--head",
        "head.npy",
        "--dtype",
        "bfloat16",
    ]
    run(capsys, "prepare", "pairs.parquet", "--out", "cache", *options)
    prefs = load_cache("cache")
    assert (prefs.embeddings.dtype.name, prefs.user_ids.tolist()) == ("bfloat16", ["5", "7"])
    np.testing.assert_array_equal(prefs.head, [0, 1, 2, 3])


def test_an_earlier_cache_serves_new_comparisons(here, capsys):
    run(
        capsys,
        "prepare",
        "pairs.jsonl",
        "--embeddings",
        "table.npy",
        "--encoder",
        "eye",
        "--out",
        "cache",
    )
    # by their texts, of which only those needed are taken
    (here / "new.jsonl").write_text(json.dumps({**ROWS[2], "user_id": "eve"}) + "\n")
    run(capsys, "prepare", "new.jsonl", "--cache", "cache", "--out", "new")
    np.testing.assert_array_equal(load_cache("new").embeddings, np.eye(4)[2:])
    assert read_manifest("new")["encoder"] == {"model": "eye"}
    # by the numbers of its rows
    (here / "rows.jsonl").write_text('{"user_id": "eve", "chosen": 3, "rejected": 0}\n')
    run(capsys, "prepare", "rows.jsonl", "--cache", "cache", "--out", "rows")
    assert load_cache("rows").num_responses == 4
    assert list(read_texts("rows")) == list(read_texts("cache"))


def test_names_can_be_hashed_from_the_start(here, capsys):
    (here / "key").write_bytes(b"secret")
    arguments = [
        "prepare",
        "pairs.jsonl",
        "--embeddings",
        "table.npy",
        "--encoder",
        "eye",
        "--out",
        "cache",
    ]
    run(capsys, *arguments, "--hash-ids", "--hash-key", "key")
    assert all(len(name) == 64 for name in load_cache("cache").user_ids)
    for file in (here / "cache").iterdir():
        assert "böb" not in file.read_bytes().decode(errors="ignore")
        assert "mood" not in file.read_bytes().decode(errors="ignore")


def test_polis_conversations(here, capsys):
    comments = [[0, 1, "Trees."], [1, 0, "Cars."], [2, -1, "Spam."]]
    write_polis(here / "one", comments, [[1, 0, 7, 1], [2, 1, 7, -1], [3, 0, 8, 1]])
    write_polis(here / "two", comments[:2], [[1, 0, 7, -1], [2, 1, 7, -1], [3, 1, 7, 1]])
    np.save("statements.npy", np.eye(4, dtype=np.float16))
    options = ["--embeddings", "statements.npy", "--encoder", "eye", "--out", "cache"]
    out = run(capsys, "prepare", "one", "two", *options)
    assert "not choices between a model's replies" in out
    prefs = load_cache("cache")
    assert prefs.user_ids.tolist() == ["one/7", "one/8", "two/7"]
    np.testing.assert_array_equal(prefs.pairs_per_user(), [1, 0, 1])
    np.testing.assert_array_equal(prefs.chosen, [0, 3])
    np.testing.assert_array_equal(prefs.rejected, [1, 2])
    np.testing.assert_array_equal(prefs.prompt, [0, 1])
    assert "not choices between a model's replies" in run(capsys, "inspect", "cache")
    assert list(read_texts("cache")) == [
        ("one", "Trees."),
        ("one", "Cars."),
        ("two", "Trees."),
        ("two", "Cars."),
    ]


def test_inspect_finds_damage_and_says_so_with_its_status(here, capsys):
    run(
        capsys,
        "prepare",
        "pairs.jsonl",
        "--embeddings",
        "table.npy",
        "--encoder",
        "eye",
        "--out",
        "cache",
    )
    assert "no damage found" in run(capsys, "inspect", "cache")
    data = bytearray((here / "cache" / "pairs.safetensors").read_bytes())
    data[-1] ^= 1
    (here / "cache" / "pairs.safetensors").write_bytes(data)
    assert "  damaged: cache/pairs.safetensors is damaged" in run(
        capsys, "inspect", "cache", status=1
    )
    assert json.loads(run(capsys, "inspect", "cache", "--json", status=1))["damaged"]
    assert "no damage found" in run(capsys, "inspect", "cache", "--verify", "quick")


def test_from_a_cache_to_its_evaluation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_small_cache(tmp_path / "cache")
    write_small_cache(tmp_path / "new", seed=0)  # the same responses: one table for everybody
    out = run(capsys, "fit", "cache", "--out", "run", "--devices", "1", *QUICK_OPTIONS)
    assert "step 25 of 25: loss" in out
    assert "rank 2" in out
    report = run(capsys, "inspect", "run")
    assert "run: a run, finished" in report
    assert "25 of 25 steps, checkpoints of 20, 25" in report
    assert "no damage found" in report
    # new users
    out = run(
        capsys, "adapt", "run", "new", "--out", "adapted", "--export", "users.parquet", "--hash-ids"
    )
    assert "25 users adapted on 240 pairs, the median user on 10" in out
    assert "1 users without pairs are the population" in out
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
        {"simplex": method(*load("run/model"))},
        [Condition("unseen", "new items", split.shots, split.tests["unseen", "new items"])],
        shots=(5,),
        seed=0,
    )[0]
    assert row["accuracy"] == pytest.approx(method_row["accuracy"], abs=1e-6)
    summary = json.loads(run(capsys, "evaluate", "run", "--no-baselines", "--overwrite", "--json"))
    assert summary["conclusion"]["splits"] == 1
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


def test_evaluated_on_other_pairs_of_its_users(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_small_cache(tmp_path / "cache")
    run(
        capsys,
        "fit",
        "cache",
        "--out",
        "run",
        "--rank",
        "0",
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


def test_embed_passes_everything_on(here, capsys, monkeypatch):
    def embed_pairs(pairs, model, out, config, *, overwrite):
        assert (str(model), str(out), overwrite) == ("model", "cache", True)
        assert config == EmbedConfig(store="float16", max_length=9)
        assert pairs.user_ids == ["ann", "böb"]
        return EmbedReport(out, len(pairs.responses), 2, 1, 3)

    monkeypatch.setattr("lore_jax.embed.pairs.embed_pairs", embed_pairs)
    options = [
        "--model",
        "model",
        "--out",
        "cache",
        "--store",
        "float16",
        "--max-length",
        "9",
        "--overwrite",
    ]
    out = run(capsys, "embed", "pairs.jsonl", *options)
    for part in (
        "4 responses embedded",
        "4 pairs by 2 users",
        "went on from row 2",
        "1 prompts of 3 replies lost",
    ):
        assert part in out
