"""From one's own texts to an answer, in Python: four lines; and a page with a learning curve."""

import csv
import dataclasses
import json

import numpy as np
from small_run import QUICK, write_small_cache

import lore_jax as lore
from lore_jax.cli.main import main
from lore_jax.fitting.config import FitConfig
from lore_jax.methods.reference import ReferenceConfig
from lore_jax.runs.config import RunConfig

WORDS = ["short", "long", "plain", "florid", "blunt", "kind"]


def write_rows(path, *, users=30, prompts=20):
    """Conversational rows of people who like longer or shorter replies, as a CSV of JSON cells."""
    rng = np.random.default_rng(0)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "prompt", "chosen", "rejected"])
        for user in range(users):
            for prompt in range(prompts):
                words = rng.permutation(WORDS)[:2]
                if rng.random() < 0.9:
                    words = sorted(words, key=len, reverse=user % 2 == 0)
                turns = [("user", f"Question {prompt}?"), *(("assistant", word) for word in words)]
                cells = [json.dumps([{"role": role, "content": text}]) for role, text in turns]
                writer.writerow([f"user {user}", *cells])


def encode(texts):
    letters = np.array([[text.count(chr(97 + n)) for n in range(26)] for text in texts], float)
    return np.column_stack([letters, [len(text) for text in texts]]) / 10.0


def test_from_texts_to_a_page(tmp_path):
    write_rows(tmp_path / "rows.csv")
    cache, run, page = (str(tmp_path / name) for name in ("cache", "run", "report.html"))
    lore.from_texts(tmp_path / "rows.csv", encode, cache=cache, encoder="letters")
    lore.run_fit(cache, run, dataclasses.replace(QUICK, devices=1))
    text = lore.report(run, page, title="Long & short").read_text()
    assert "<h1>Long &amp; short</h1>" in text
    assert "ersonalising" in text
    assert "half of them gave" in text
    _, users = lore.load(run)
    assert users.num_users < 30  # the others were kept for the test


def test_a_learning_curve_on_the_page(tmp_path, capsys):
    cache, run, page = (str(tmp_path / name) for name in ("cache", "run", "report.html"))
    config = RunConfig(fit=FitConfig(ReferenceConfig()), split=QUICK.split, devices=1)
    lore.run_fit(write_small_cache(cache), run, config)
    options = ["--learning-curve", "--no-baselines", "--shots", "0", "5", "--license", "mit"]
    assert main(["evaluate", run, *options]) == 0
    assert 'license: "mit"' in (tmp_path / "run" / "model" / "README.md").read_text()
    assert main(["report", run, "--learning-curve", "--out", page]) == 0
    capsys.readouterr()
    # One head for everybody: other users change nothing.
    expected = "Twice as many people in the fit (30 rather than 15) would bring about 0 points"
    assert expected in (tmp_path / "report.html").read_text()
