"""Experiments run with the options of the command line, or say in one line what is wrong."""

import dataclasses

import pytest

from experiments.common.command_line import main


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
