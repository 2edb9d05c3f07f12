"""The command line: `lore-jax COMMAND`, the options of each command made from a dataclass.

The table of commands is text, and a command's module is imported when it is chosen: `lore-jax
--help` does not wait for JAX. Whatever goes wrong is one line on standard error and exit status 2;
`--debug` shows where it happened.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence

from lore_jax.cli.arguments import parse, suggestion
from lore_jax.parallel.compilation_cache import keep_compiled_programs

COMMANDS = {
    "demo": "fit, adapt and evaluate on synthetic users in seconds, to see what it looks like",
    "prepare": "comparisons (JSONL, Parquet, Polis) and embeddings you have -> a cache",
    "embed": "comparisons of texts (JSONL, Parquet) and a model's folder -> a cache",
    "fit": "a cache -> a run: the basis, the seen users' weights, checkpoints; resumable",
    "adapt": "a run and a cache of new users' comparisons -> their weights",
    "evaluate": "how well a run predicts the choices held out from it, beside the controls",
    "compare": "every method of the field on the same splits of a cache, in one table",
    "ask": "asks you, one pair of responses after the other, and says what a run learns of you",
    "score": "a run, users and candidate responses -> scores, or each user's best",
    "pick": "the same -> the reply that each user gets, or all together, and how sure that is",
    "relabel": "pairs of replies -> ordered and weighted for a user, for personal DPO",
    "merge": "LoRA adapters and users' weights -> an adapter of each user's own",
    "inspect": "what a cache, a run or a saved model holds, corrupt files included",
    "report": "a run's results as one page of HTML",
    "completion": "a script that completes commands and options in bash, zsh or tcsh",
}
COMMON = {
    "--json": "print one JSON object, for machines",
    "--debug": "show the traceback of an error",
}
_HELP = """usage: lore-jax COMMAND [OPTIONS]

Reward models for people who disagree: a basis that everyone shares, a few weights
for each user.

commands (lore-jax COMMAND --help lists the options):
{commands}

options of every command:
{options}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        The exit status: 0; 1 where `inspect` found corruption; 2 for an error, said in one line;
            130 when interrupted.

    Example:
        >>> main(["--version"])
        0.1.0
        0
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    common = {name: name in arguments for name in COMMON}
    arguments = [argument for argument in arguments if argument not in COMMON]
    with _warnings_in_one_line():
        try:
            return _run(arguments, as_json=common["--json"])
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:  # as in `lore-jax inspect cache | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Exception as error:
            if common["--debug"]:
                traceback.print_exc()
            print(f"lore-jax: {_in_one_line(error)}", file=sys.stderr)
            return 2


def _run(arguments: list[str], *, as_json: bool) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        options = {**COMMON, "--version": "print the version"}
        print(_HELP.format(commands=_rows(COMMANDS), options=_rows(options)))
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("lore-jax"))
        return 0
    name, *options = arguments
    if name not in COMMANDS:
        hint = suggestion(name, COMMANDS)
        raise ValueError(f"there is no command {name!r}{hint} See lore-jax --help")
    if "jax" not in sys.modules:  # else another program runs this command, and decides itself
        keep_compiled_programs()
    command = importlib.import_module(f"lore_jax.cli.{name}")
    note = f"Every command takes {' and '.join(COMMON)}."
    try:
        defaults = command.defaults(options) if hasattr(command, "defaults") else {}
        config = parse(
            command.Config, options, prog=f"lore-jax {name}", note=note, defaults=defaults
        )
    except SystemExit:  # help was asked for, and printed
        return 0
    except ValueError as error:
        stop = "" if str(error).endswith((".", "?")) else "."
        raise ValueError(f"{name}: {error}{stop} See lore-jax {name} --help") from None
    result = command.run(config)
    text = json.dumps(result, allow_nan=False) if as_json else "\n".join(command.lines(result))
    print(text, flush=True)
    return 1 if result.get("corrupt") else 0


def _rows(texts: dict[str, str]) -> str:
    return "\n".join(f"  {name:<12}{text}" for name, text in texts.items())


def _in_one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, ValueError | OSError):
        text = str(error)
    elif isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED"):
        text = f"there is not enough memory: {str(error) or 'for what was asked'}"
    else:
        text = f"{type(error).__name__}: {error} (--debug shows where)"
    return " ".join(text.split())


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    def show(message: Warning | str, *_: object) -> None:
        print(f"lore-jax: warning: {' '.join(str(message).split())}", file=sys.stderr)

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before
