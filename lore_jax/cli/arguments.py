"""Command-line options from a frozen dataclass: one option a field, its help from the docstring.

A field without a default must be given. A `bool` is a flag (`--name`, or `--no-name` where the
default is True), a `Literal` takes one of its values, `X | None` also takes None, and
`tuple[X, ...]` takes several words. A dataclass in a field brings its fields, as `--field.name`.
A field annotated with a mapping from names to dataclasses holds one of these: `--field NAME` says
which one, and its fields are options too, without a prefix. Fields of other types are no options
and keep their defaults.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

POSITIONAL = "positional"  # Annotated[Path, POSITIONAL]: given by its position, without a name
FLAT = "flat"  # Annotated[Inner, FLAT]: the fields of the dataclass, without the prefix `--field.`

Config = TypeVar("Config", bound="DataclassInstance")


def parse(
    config: type[Config],
    arguments: Sequence[str],
    *,
    prog: str,
    note: str = "",
    defaults: Mapping[str, Any] | None = None,
) -> Config:
    """Makes a dataclass from command-line arguments.

    Args:
        config: the dataclass; its docstring is the help.
        arguments: the words of the command line, without the program's name.
        prog: the program's name, in the help.
        note: what the help says after the docstring's first part.
        defaults: of some fields, in place of those that the dataclass has.

    Returns:
        An instance of `config`.

    Raises:
        ValueError: the arguments do not fit; one line that names the option.
        SystemExit: help was asked for, and printed; status 0.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Example:
        ...     seed: int = 0
        >>> parse(Example, ["--seed", "3"], prog="example")
        Example(seed=3)
        >>> parse(Example, ["--sed", "3"], prog="example")
        Traceback (most recent call last):
        ValueError: there is no option --sed: is --seed meant?
    """
    defaults = defaults or {}
    parser = options_parser(config, arguments, prog=prog, note=note, defaults=defaults)
    parser.usage = " ".join([prog, *parser.required, "[OPTIONS]"])
    for word in arguments:
        name = word.split("=")[0]
        if name.startswith("--") and name not in parser.names:
            raise ValueError(f"there is no option {name}{suggestion(name, parser.names)}")
    values: dict[str, object] = {
        path: tuple(value) if isinstance(value, list) else value
        for path, value in vars(parser.parse_args(arguments)).items()
    }
    for path, cls, instance in reversed(parser.dataclasses):
        names = [field.name for field in dataclasses.fields(cls) if path + field.name in values]
        given = {name: values[path + name] for name in names}
        if not path:
            given = {**defaults, **given}
        instance = cls(**given) if instance is None else dataclasses.replace(instance, **given)
        values[path.removesuffix(".")] = instance
    return typing.cast(Config, values[""])


def options_parser(
    config: type[DataclassInstance],
    arguments: Sequence[str],
    *,
    prog: str,
    note: str = "",
    defaults: Mapping[str, Any] | None = None,
) -> _Parser:
    """The parser whose options are the fields of a dataclass; arguments as of `parse`."""
    parser = _Parser(
        prog=prog,
        description=f"{_purpose(config)}\n\n{note}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # a field that is not given keeps its own default
        allow_abbrev=False,
    )
    parser.add_fields(parser, config, arguments, given=defaults or {})
    return parser


def suggestion(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a word that is not known: what may be meant instead."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.75)
    return f": is {near[0]} meant?" if near else "."


class _Parser(argparse.ArgumentParser):
    """A parser whose options are the fields of dataclasses; its errors are raised, each one line.

    Attributes:
        names: the options' names.
        required: how the usage shows the options that must be given.
        dataclasses: path (as `fit.method.`), type and defaults (an instance, or None) of each, the
            inner ones after those around them.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.names, self.required = ["--help"], []
        self.dataclasses: list[tuple[str, type[DataclassInstance], DataclassInstance | None]] = []

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}.")

    def add_fields(
        self,
        group: argparse._ActionsContainer,
        config: type[DataclassInstance],
        words: Sequence[str],
        defaults: DataclassInstance | None = None,
        path: str = "",
        prefix: str = "",
        given: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds the options of a dataclass.

        Args:
            group: what they are added to.
            config: the dataclass.
            words: the command line, which says which of several dataclasses is meant.
            defaults: an instance whose fields are the defaults; None: the dataclass' own.
            path: of the dataclass, as `fit.method.`.
            prefix: of the options' names.
            given: defaults of some fields.
        """
        self.dataclasses.append((path, config, defaults))
        hints, texts = typing.get_type_hints(config, include_extras=True), _attributes(config)
        for field in dataclasses.fields(config):
            hint, marks = hints[field.name], getattr(hints[field.name], "__metadata__", ())
            hint, text = hint.__origin__ if marks else hint, texts.get(field.name, "")
            target, name = path + field.name, prefix + field.name
            inner_prefix = prefix if FLAT in marks else f"{name}."
            default = _default(field) if defaults is None else getattr(defaults, field.name)
            default = (given or {}).get(field.name, default)
            for choices in (mark for mark in marks if isinstance(mark, Mapping)):
                usual = next(name for name, kind in choices.items() if type(default) is kind)
                self.add_field(group, target, name, Literal[tuple(choices)], usual, text)
                chosen = _chosen(self.names[-1], choices, usual, words)
                hint, default = choices[chosen], default if chosen == usual else None
                inner_prefix, text = prefix, f"--{field.name} {chosen}: {_purpose(hint)}"
            if isinstance(hint, type) and dataclasses.is_dataclass(hint):
                inner = self.add_argument_group(text.rstrip("."))
                default = None if default is dataclasses.MISSING else default
                self.add_fields(inner, hint, words, default, f"{target}.", inner_prefix)
            else:
                self.add_field(group, target, name, hint, default, text, POSITIONAL in marks)

    def add_field(
        self,
        group: argparse._ActionsContainer,
        target: str,
        name: str,
        hint: object,
        default: object,
        text: str,
        is_positional: bool = False,
    ) -> None:
        """Adds the option of a field that holds a value, if words can give a value of its type."""
        settings, required = _settings(hint, default), default is dataclasses.MISSING
        if settings is None:
            return
        settings["help"] = text.replace("%", "%%")
        if hint is not bool and not required and default not in (None, ()):
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
            settings["help"] += f" (default: {shown})".replace("%", "%%")
        if is_positional:
            settings["metavar"] = name.upper()
            shown = f"{name.upper()} ..." if "nargs" in settings else name.upper()
            if not required:
                settings |= {"nargs": "?", "default": default}  # argparse suppresses none of these
                shown = f"[{name.upper()}]"
            group.add_argument(target, **settings)
            self.required.append(shown)
            return
        if default is True:
            name = re.sub(r"[^.]+$", r"no-\g<0>", name)
        self.names.append(f"--{name.replace('_', '-')}")
        group.add_argument(self.names[-1], dest=target, required=required, **settings)
        if required:
            self.required.append(f"{self.names[-1]} {settings['metavar']}")


def _default(field: dataclasses.Field[object]) -> Any:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def _chosen(option: str, choices: Iterable[str], usual: str, words: Sequence[str]) -> str:
    """The value of an option before the others are known."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(option, dest="value", nargs="?", const="", default=usual)
    value = parser.parse_known_args(words)[0].value
    if value not in choices:
        expected = " or ".join(map(repr, choices))
        raise ValueError(f"{option} is {value!r}: {expected} is expected")
    return value


def _settings(hint: object, default: object = None) -> dict[str, Any] | None:
    """How words become a value of a type, in keywords of `add_argument`; None: they do not."""
    parts = typing.get_args(hint)
    if hint is bool:
        return {"action": "store_false" if default is True else "store_true"}
    if typing.get_origin(hint) is Literal:
        metavar = f"{{{','.join(map(str, parts))}}}"
        return {"type": type(parts[0]), "choices": parts, "metavar": metavar}
    if hint in (int, float, str, Path):
        read = _whole_number if hint is int else hint
        return {"type": read, "metavar": typing.cast("type", hint).__name__.upper()}
    settings = _settings(parts[0]) if parts else None
    if settings is not None and typing.get_origin(hint) is tuple:
        settings["nargs"] = "+" if default is dataclasses.MISSING else "*"
    elif settings is not None:  # X | None
        settings["type"] = _or_none(settings["type"])
        if "choices" in settings:
            settings["choices"] = (*settings["choices"], None)
    return settings


def _whole_number(text: str) -> int:
    """What `int` reads, of a size that arrays and seeds can have."""
    value = int(text)
    if abs(value) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text[:20]}... is a number beyond 64 bits")
    return value


_whole_number.__name__ = "int"  # which argparse puts into errors


def _or_none(convert: Callable[[str], object]) -> Callable[[str], object]:
    """Reads None too; its name, which argparse puts into errors, stays."""

    @functools.wraps(convert, updated=())
    def read(word: str) -> object:
        return None if word == "None" else convert(word)

    return read


def _purpose(config: type) -> str:
    """The docstring of a dataclass as far as its attributes."""
    return inspect.cleandoc(config.__doc__ or "").partition("Attributes:")[0].strip()


def _attributes(config: type) -> dict[str, str]:
    """What the docstrings of a dataclass and of its parents say about each field."""
    texts = {}
    for parent in reversed(config.__mro__):
        _, _, section = inspect.cleandoc(parent.__doc__ or "").partition("Attributes:\n")
        section = re.split(r"\n(?=\S)", section)[0]
        for match in re.finditer(r"^    (\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE):
            texts[match[1]] = " ".join(match[2].split())
    return texts
