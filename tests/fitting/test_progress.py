"""What is shown of choosing: a bar on a terminal, a line now and then elsewhere, or nothing."""

import sys

import pytest

from lore_jax.fitting import progress as module
from lore_jax.fitting.progress import Progress


def test_elsewhere_a_line_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Progress() as progress:
        for _ in range(70):
            now[0] += 1.0
            progress.fitted("ridge")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"lore_jax: choosing ridge, {count} fits done" for count in (30, 60)]


def test_steps_of_a_fit_are_lines_too(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Progress() as progress, Progress(shown=False) as quiet:
        for taken in range(20, 101, 20):
            now[0] += 20.0
            progress.stepped(taken, 100)
            quiet.stepped(taken, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"lore_jax: fitting, {taken} of 100 steps done" for taken in (40, 80)]
    assert progress.count == quiet.count == 100


@pytest.mark.parametrize("shown", [True, False])
def test_steps_on_a_terminal_are_a_bar(capsys, monkeypatch, shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(shown=shown) as progress:
        progress.stepped(20, 40)
        progress.stepped(40, 40)
    assert ("fitting: " in capsys.readouterr().err) == shown


@pytest.mark.parametrize("shown", [True, False])
def test_on_a_terminal_a_bar(capsys, monkeypatch, shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(shown=shown) as progress:
        progress.fitted("rank")
    assert progress.count == 1
    assert ("choosing: rank" in capsys.readouterr().err) == shown
