"""`lore-jax inspect`: its status says whether something is corrupt."""

import json
import os

import pytest
from command_line import PREPARE, run
from small_run import write_small_cache

from lore_jax.fitting.config import FitConfig
from lore_jax.methods.reference import ReferenceConfig
from lore_jax.runs.config import RunConfig, SplitConfig
from lore_jax.runs.run import run_fit


def test_inspect_finds_damage_and_says_so_with_its_status(here, capsys):
    run(
        capsys,
        *PREPARE,
        "--out",
        "cache",
    )
    assert "no corruption found" in run(capsys, "inspect", "cache")
    data = bytearray((here / "cache" / "pairs.safetensors").read_bytes())
    data[-1] ^= 1
    (here / "cache" / "pairs.safetensors").write_bytes(data)
    assert "  corrupt: cache/pairs.safetensors is corrupt" in run(
        capsys, "inspect", "cache", status=1
    )
    assert json.loads(run(capsys, "inspect", "cache", "--json", status=1))["corrupt"]
    assert "no corruption found" in run(capsys, "inspect", "cache", "--verify", "quick")


def test_a_cache_is_read_from_within(here, capsys, monkeypatch):
    run(capsys, *PREPARE, "--out", "cache")
    monkeypatch.chdir(here / "cache")
    assert "no corruption found" in run(capsys, "inspect", ".")


@pytest.mark.parametrize("name", ["results.json", "model/0/files.json"])
def test_a_pipe_among_the_files_of_a_run_is_found_and_not_waited_for(here, capsys, name):
    write_small_cache(here / "cache")
    split = SplitConfig(items=("new items",))
    run_fit("cache", "run", RunConfig(fit=FitConfig(ReferenceConfig()), split=split, devices=1))
    (here / "run" / name).unlink(missing_ok=True)
    os.mkfifo(here / "run" / name)
    printed = run(capsys, "inspect", "run", status=1)
    assert f"{name} is no regular file: one with an end is expected" in printed
