"""The command line: `lore-jax COMMAND`, one frozen dataclass a command, its options generated from
the fields.

The table of commands is text, and a command's module is imported when it is chosen: `lore-jax
--help` does not wait for JAX. Whatever goes wrong is one line on standard error and exit status 2;
`--debug` shows where it happened.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import io
import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_COMMANDS = {
    "demo": "fit, adapt and evaluate made-up people in seconds, to see what it looks like",
    "prepare": "comparisons (JSONL, Parquet, Polis) and embeddings you have -> a cache",
    "embed": "comparisons of texts (JSONL, Parquet) and a model's folder -> a cache",
    "fit": "a cache -> a run: the basis, the seen users' weights, checkpoints; resumes",
    "adapt": "a run and a cache of new users' comparisons -> their weights",
    "evaluate": "how well a run predicts the choices held out from it, beside the controls",
    "score": "a run, users and candidate responses -> scores, or each user's best",
    "inspect": "what a cache, a run or a saved model holds, corrupt files included",
    "report": "a run's results as one page of HTML",
}
_COMMON = {
    "--json": "print one JSON object, for machines",
    "--debug": "show the traceback of an error",
}


class UsageError(Exception):
    """The command line itself is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        The exit status: 0; 1 where `inspect` found corruption; 2 for an error, said in one line; 130
            when interrupted.

    Example:
        >>> main(["inspect", "cache"])
        0
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    common = {name: name in arguments for name in _COMMON}
    arguments = [argument for argument in arguments if argument not in _COMMON]
    with _warnings_in_one_line():
        try:
            return _run(arguments, as_json=common["--json"])
        except KeyboardInterrupt:
            return 130
        except (
            BrokenPipeError
        ):  # the reader of our output has seen enough, as in `lore-jax inspect cache | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Exception as error:
            if common["--debug"]:
                traceback.print_exc()
            print(f"lore-jax: {_in_one_line(error)}", file=sys.stderr)
            return 2


def _run(arguments: list[str], *, as_json: bool) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("lore-jax"))
        return 0
    name, *options = arguments
    if name not in _COMMANDS:
        raise UsageError(
            f"there is no command {name!r}{_suggestion(name, _COMMANDS)} See lore-jax --help"
        )
    _keep_compiled_programs()
    command = importlib.import_module(f"lore_jax.cli.{name}")
    config = _parse(name, command.Config, options)
    if config is None:
        return 0
    result = command.run(config)
    if as_json:
        print(json.dumps(result, allow_nan=False))
    else:
        print("\n".join(command.lines(result)))
    sys.stdout.flush()
    return 1 if result.get("corrupt") else 0


def _keep_compiled_programs() -> None:
    """Lets JAX keep what it compiles, small programs too, for the next command; whatever the
    environment says wins.
    """
    if (
        "jax" in sys.modules
    ):  # another program runs this command within itself, and has settings of its own
        return
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(caches, "lore_jax", "programs"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def _parse(name: str, config: Any, options: list[str]) -> Any:
    """The dataclass `config` made from options; None if help was asked for, and given."""
    import tyro

    said = io.StringIO()
    purpose = inspect.cleandoc(config.__doc__).split("Attributes:")[0].strip()
    description = f"{purpose}\n\nEvery command takes {' and '.join(_COMMON)}."
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                config,
                prog=f"lore-jax {name}",
                description=description,
                args=options,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if not stop.code:
            return None
        raise UsageError(
            f"{name}: {_first_sentence(said.getvalue())} See lore-jax {name} --help"
        ) from None


def _first_sentence(box: str) -> str:
    """What is wrong, out of what tyro draws around it: a title, parts with rules between them, the
    last one a hint.
    """
    box = re.sub("\x1b\\[[0-9;]*m", "", box)  # colours
    lines = [
        re.sub("^\u2502|\u2502$", "", line)
        for line in box.splitlines()
        if line[:1] not in "\u256d\u2570"
    ]
    parts: list[list[str]] = [[]]
    for line in lines:
        if re.fullmatch(" *[\u2500-]{5,} *", line):
            parts.append([])
        else:
            parts[-1].append(line)
    if (
        "\u256d" not in box
    ):  # a terminal without Unicode: the title is a part of its own, not written into the frame
        parts = parts[1:]
    text = " ".join(" ".join(parts[0]).split())
    problem = re.split("For full helptext|Argument helptext|Got errors", text)[0].strip()
    # The options that tyro thinks of are indented less than their descriptions.
    options = [line for part in parts[1:] for line in part if line.lstrip().startswith("--")]
    depth = min((len(line) - len(line.lstrip()) for line in options), default=0)
    near = [line.split()[0] for line in options if len(line) - len(line.lstrip()) == depth]
    if "Perhaps you meant" in box and near:
        return f"{problem}: is {' or '.join(near)} meant?"
    return f"{problem.rstrip('.')}."


def _suggestion(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f": is {near[0]} meant?" if near else "."


def _help() -> str:
    rows = [f"  {name:<10}{text}" for name, text in _COMMANDS.items()]
    options = [
        f"  {name:<10}{text}"
        for name, text in {**_COMMON, "--version": "print the version"}.items()
    ]
    return "\n".join(
        [
            "usage: lore-jax COMMAND [OPTIONS]",
            "",
            "Reward models for people who disagree: a basis shared by everyone, a few weights for each user.",
            "",
            "commands (lore-jax COMMAND --help lists the options):",
            *rows,
            "",
            "options of every command:",
            *options,
        ]
    )


def _in_one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, UsageError | ValueError | OSError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error} (--debug shows where)"
    return " ".join(text.split())


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    def show(message: Warning | str, *_: Any) -> None:
        print(f"lore-jax: warning: {' '.join(str(message).split())}", file=sys.stderr)

    kept: Callable[..., Any] = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = kept
