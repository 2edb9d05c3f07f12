"""Any damage to any file of a cache or of a run is found, or what is read from it stays the same.

Three hundred damages, drawn once: a flipped bit, a file cut short, removed, or exchanged with
another of its size. Every file is read as the commands read it, without fitting anything.
"""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from small_run import QUICK, write_small_cache

from lore_jax.cli import inspect
from lore_jax.cli.main import main
from lore_jax.evaluation.results import read_results
from lore_jax.model.saved import load
from lore_jax.runs.folder import read_run
from lore_jax.runs.run import run_fit
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.checkpoint.store import CheckpointStore

DAMAGES = 300


def arrays(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def columns(prefs):
    return [str(value) for value in vars(prefs).values() if not isinstance(value, np.ndarray)] + [
        np.asarray(value).tobytes() for value in vars(prefs).values() if value is not None
    ]


def restored(folder):
    """The newest checkpoint alone is what a run goes on from."""
    with CheckpointStore(folder, read_only=True) as store:
        step, state, extra = store.restore()
    return [step, *arrays(state), json.dumps(extra)]


def log(run):
    """As `lore-jax fit --resume` reads it."""
    path = run / "metrics.jsonl"
    return path.read_bytes() if path.exists() else None


def cache_read(folder):
    return columns(load_cache(folder))


READERS = {
    "manifest.json": cache_read,
    "embeddings": cache_read,
    "pairs": cache_read,
    "users.json": cache_read,
    "head": cache_read,
    "run.json": lambda run: json.dumps(read_run(run).manifest),
    "split": lambda run: columns(read_run(run).load_parts().train),
    "results.json": lambda run: json.dumps(read_results(run / "results.json")),
    "metrics.jsonl": log,
    "model": lambda run: arrays(load(run)),
    "checkpoints": lambda run: restored(run / "checkpoints"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    write_small_cache(folder / "cache")
    run_fit(folder / "cache", folder / "run", dataclasses.replace(QUICK, devices=1))
    assert main(["evaluate", str(folder / "run"), "--no-baselines", "--shots", "0"]) == 0
    return folder


def damage(rng, file):
    """Changes a file in one of four ways; returns how."""
    data = file.read_bytes()
    how = ["flip", "truncate", "delete", "replace"][rng.integers(4)]
    if how == "delete" or not data:
        file.unlink()
    elif how == "flip":
        place = int(rng.integers(len(data)))
        flipped = data[place] ^ (1 << int(rng.integers(8)))
        file.write_bytes(data[:place] + bytes([flipped]) + data[place + 1 :])
    elif how == "truncate":
        file.write_bytes(data[: int(rng.integers(len(data)))])
    else:
        file.write_bytes(rng.bytes(len(data)))
    return how


def found(folder, which):
    """The corruption that `lore-jax inspect` finds."""
    try:
        return inspect.run(inspect.Config(folder / which))["corrupt"]
    except (ValueError, OSError) as error:
        return [str(error)]


def told(reader, folder, which, before):
    """What is said of a damage, one line each; nothing where what is read is the same."""
    try:
        return [] if reader(folder / which) == before else found(folder, which)
    except (ValueError, OSError, RuntimeWarning) as error:  # the last: a step was passed over
        return [str(error)]


def test_damage_is_found_or_harmless(good, tmp_path):
    rng = np.random.default_rng(0)
    for which in ("cache", "run"):
        shutil.copytree(good / which, tmp_path / which)
    files = sorted(file for file in tmp_path.rglob("*") if file.is_file())
    before, silent = {}, []
    for number in range(DAMAGES):
        file = files[rng.integers(len(files))]
        which, part = file.relative_to(tmp_path).parts[:2]
        reader = next(read for name, read in READERS.items() if part.startswith(name))
        if reader not in before:
            before[reader] = reader(tmp_path / which)
        data = file.read_bytes()
        how = damage(rng, file)
        lines = told(reader, tmp_path, which, before[reader])
        if not lines:
            silent.append((number, how, str(file.relative_to(tmp_path))))
            assert reader(tmp_path / which) == before[reader], silent[-1]
        assert not [line for line in lines if "\n" in line or len(line) > 500], lines
        file.write_bytes(data)
    # Orbax' own marks, and checkpoints that newer ones stand before, are no part of an answer.
    assert len(silent) < DAMAGES / 2, silent
