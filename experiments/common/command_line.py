"""The command line of an experiment: its options are the fields of its configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lore_jax.cli.arguments import parse

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def main(run: Callable[[Config], object], config: type[Config]) -> None:
    """Runs an experiment as the words of the command line say."""
    prog = f"python -m experiments.{Path(sys.argv[0]).stem}"
    try:
        options = parse(config, sys.argv[1:], prog=prog)
    except ValueError as error:
        sys.exit(f"{prog}: {error}")
    run(options)
