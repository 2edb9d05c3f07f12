"""From a file of comparisons to a report: five lines of Python, or three commands.

The settings are small so that it is quick; nobody needs any.
"""

import csv
import hashlib
import json

import numpy as np
import pytest
from small_run import QUICK, QUICK_OPTIONS

import lore_jax as lore
from experiments.common.tiny_model import write_sentence_encoder
from lore_jax.cli.main import main
from lore_jax.evaluation.results import read_results

ROWS, USERS, PROMPTS, REPLIES, DIM = 1800, 60, 150, 3, 6

FIVE_LINES = """
import lore_jax as lore
lore.from_texts("rows.csv", encode, cache="cache", encoder="hash")
lore.run_fit("cache", "run", config)
lore.report("run", "report.html")
"""


def encode(texts):
    """Numbers that have nothing to do with one another, from the text alone."""
    seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
    return np.stack([np.random.default_rng(seed).normal(size=DIM) for seed in seeds])


def message(role, content):
    return json.dumps([{"role": role, "content": content}])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with rows.csv: everybody weighs the embeddings in a way of his own."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = encode(
        [f"Question {n}?\n\nAnswer {n}-{k}." for n in range(PROMPTS) for k in range(REPLIES)]
    ).reshape(PROMPTS, REPLIES, DIM)
    weights = rng.normal(size=DIM) + rng.normal(size=(USERS, DIM))
    with open("rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "prompt", "chosen", "rejected"])
        for row in range(ROWS):
            user, prompt = row % USERS, int(rng.integers(PROMPTS))
            one, two = rng.permutation(REPLIES)[:2]
            if weights[user] @ (table[prompt, one] - table[prompt, two]) < 0:
                one, two = two, one
            replies = (message("assistant", f"Answer {prompt}-{k}.") for k in (one, two))
            writer.writerow([f"user {user}", message("user", f"Question {prompt}?"), *replies])
    return tmp_path


def concluded(folder):
    page = (folder / "report.html").read_text()
    conclusions = read_results(folder / "run" / "results.json")["conclusions"]
    assert conclusions
    assert all(one["statement"][:40] in page for one in conclusions.values())
    return True


def test_five_lines_of_python(here):
    assert len(FIVE_LINES.strip().splitlines()) <= 5
    exec(FIVE_LINES, {"encode": encode, "config": QUICK})
    assert lore.load_cache("cache").num_pairs == ROWS
    assert concluded(here)


def test_three_commands(here, capsys):
    model = str(write_sentence_encoder(here / "model"))
    commands = [
        ["embed", "rows.csv", "--model", model, "--out", "cache"],
        ["fit", "cache", "--out", "run", *QUICK_OPTIONS],
        ["report", "run", "--out", "report.html"],
    ]
    assert [main(command) for command in commands] == [0, 0, 0]
    assert concluded(here)
