"""Completion: every command and its options, in a script that the shell reads."""

import shutil
import subprocess

import pytest

from lore_jax.cli.completion import Config, lines, run
from lore_jax.cli.main import COMMANDS


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_script_knows_every_command_and_option(shell):
    (script,) = lines(run(Config(shell)))
    for word in [*COMMANDS, "ridge-population", "split.unseen-users", "json"]:
        assert word in script
    if shutil.which(shell) and shell != "tcsh":
        done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
