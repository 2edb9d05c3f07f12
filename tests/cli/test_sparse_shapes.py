"""Sparse comparisons, as people bring them, from files to an answer without an option about splits.

The fits are given everything but the split, so that they are quick.
"""

import json

import numpy as np
import pytest
from command_line import run
from small_run import QUICK_OPTIONS
from sparse_shapes import own_prompts, raters, workers

from lore_jax.runs.folder import read_run

METHOD = [*QUICK_OPTIONS[: QUICK_OPTIONS.index("--split.items")], "--devices", "1"]
SHAPES = {
    "workers": workers(users=70, pairs=3000, texts=160),
    "raters": raters(users=70, texts=500, votes=40, pairs=30),
    "own prompts": own_prompts(users=70, prompts=12),
}


def prepare(folder, prefs, capsys):
    np.save(folder / "table.npy", prefs.embeddings)
    columns = (prefs.user, prefs.prompt, prefs.chosen, prefs.rejected)
    with open(folder / "pairs.jsonl", "w") as file:
        for user, prompt, chosen, rejected in zip(*map(np.ndarray.tolist, columns), strict=True):
            names = {"user_id": f"user {user}", "prompt_id": prompt}
            file.write(json.dumps({**names, "chosen": chosen, "rejected": rejected}) + "\n")
    options = ["--embeddings", "table.npy", "--encoder", "none", "--out", "cache"]
    run(capsys, "prepare", "pairs.jsonl", *options)


@pytest.mark.parametrize("shape", SHAPES)
def test_default_commands_end_in_an_answer_from_most_users(shape, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prefs = SHAPES[shape]
    prepare(tmp_path, prefs, capsys)
    run(capsys, "fit", "cache", "--out", "run", *METHOD)
    split = read_run(tmp_path / "run").manifest["split"]
    users = split["parts"]["users/seen"] + split["parts"]["users/unseen"]
    pairs = sum(size for name, size in split["parts"].items() if not name.startswith("users"))
    assert users >= 0.6 * prefs.num_users
    assert pairs >= 0.6 * (prefs.num_pairs - split["dropped"]["cross_split"])
    assert split["summary"][0] in run(capsys, "inspect", "run")
    out = run(capsys, "evaluate", "run", "--shots", "0", "5", "--no-baselines")
    assert "ersonalising helps" in out
    assert "new items" not in out  # but new prompts, or new responses


def test_twelve_users_are_told_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, own_prompts(users=12, prompts=30), capsys)
    assert "4 unseen users are too few" in run(capsys, "fit", "cache", "--out", "run", *METHOD)
    run(capsys, "fit", "cache", "--out", "whole", "--split.everything", *METHOD)
    assert read_run(tmp_path / "whole").manifest["split"] is None


def test_known_items_of_ones_own_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, SHAPES["own prompts"], capsys)
    options = ["cache", "--out", "run", "--split.items", "known items", *METHOD]
    error = run(capsys, "fit", *options, status=2)
    assert "no two users share a prompt or a response" in error
    assert "--split.items 'new items'" in error


def test_a_fold_is_chosen_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, SHAPES["own prompts"], capsys)
    run(capsys, "fit", "cache", "--out", "run", "--split.fold", "1", "5", *METHOD)
    manifest = read_run(tmp_path / "run").manifest
    assert manifest["config"]["split"]["fold"] == [1, 5]
    assert 12 <= manifest["split"]["parts"]["users/unseen"] <= 70 // 5
