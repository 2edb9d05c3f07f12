"""`lore-jax completion`: a script with which a shell completes commands and options."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
from collections.abc import Mapping
from typing import Annotated, Literal

from lore_jax.cli.arguments import POSITIONAL, options_parser


@dataclasses.dataclass(frozen=True)
class Config:
    """Prints a script for a shell; `eval "$(lore-jax completion bash)"` completes from now on.

    Attributes:
        shell: which shell.
    """

    shell: Annotated[Literal["bash", "zsh", "tcsh"], POSITIONAL]


def run(config: Config) -> dict[str, object]:
    """Makes the script from the options that the commands have."""
    import shtab  # only here, and seldom

    from lore_jax.cli.main import COMMANDS, COMMON

    parser = argparse.ArgumentParser(prog="lore-jax")
    commands = parser.add_subparsers()
    for name, text in COMMANDS.items():
        command = importlib.import_module(f"lore_jax.cli.{name}")
        options = options_parser(command.Config, [], prog=f"lore-jax {name}")
        for option, about in COMMON.items():
            options.add_argument(option, action="store_true", help=about)
        added = commands.add_parser(name, help=text, parents=[options], add_help=False)
        for action in added._actions:
            if action.type is not None and getattr(action.type, "__name__", "") == "Path":
                action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
    return {"script": shtab.complete(parser, shell=config.shell)}


def lines(result: Mapping[str, object]) -> list[str]:
    """The script."""
    return [str(result["script"])]
