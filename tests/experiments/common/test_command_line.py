"""Experiments run with the options of the command line, or say in one line what is wrong."""

import dataclasses
import importlib
from pathlib import Path

import pytest

from experiments.common.command_line import main
from lore_jax.cli.arguments import parse

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


@dataclasses.dataclass(frozen=True)
class Config:
    """Does something."""

    seed: int = 0


def test_the_options_are_the_fields(monkeypatch):
    runs = []
    monkeypatch.setattr("sys.argv", ["experiments/polis.py", "--seed", "3"])
    main(runs.append, Config)
    assert runs == [Config(seed=3)]


def test_what_is_wrong_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["experiments/polis.py", "--sed", "3"])
    with pytest.raises(SystemExit, match=r"python -m experiments\.polis: .*is --seed meant"):
        main(print, Config)


@pytest.mark.parametrize("name", sorted({path.stem for path in EXPERIMENTS.glob("[a-z]*.py")}))
def test_every_experiment_can_be_tried_without_data(name):
    config = importlib.import_module(f"experiments.{name}").Config
    assert parse(config, ["--out", "run", "--smoke"], prog=name).out == Path("run")
