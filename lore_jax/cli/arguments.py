"""Command-line options from a frozen dataclass: one option a field, its help from the docstring.

A field without a default must be given. A `bool` is a flag (`--name`, or `--no-name` where the
default is True), a `Literal` takes one of its values, `X | None` also takes None, and
`tuple[X, ...]` takes several words. A dataclass in a field brings its fields, as `--field.name`.
Fields of other types are no options and keep their defaults.
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
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn, TypedDict, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

POSITIONAL = "positional"  # Annotated[Path, POSITIONAL]: given by its position, without a name
FLAT = "flat"  # Annotated[Inner, FLAT]: the fields of the dataclass, without the prefix `--field.`

Config = TypeVar("Config", bound="DataclassInstance")


@dataclasses.dataclass(frozen=True)
class OneOf:
    """Marks a dataclass of which one field holds one of several dataclasses.

    Of `Annotated[Outer, OneOf("field", CHOICES)]`, the option `--field NAME` says which one, and
    the fields of that one are options too, without a prefix.

    Attributes:
        field: the field; its default is an instance of one of the dataclasses.
        choices: the dataclasses by name.
    """

    field: str
    choices: Mapping[str, type[DataclassInstance]]

    def name_of(self, value: object) -> str:
        """The name of the dataclass that `value` is an instance of."""
        return next(name for name, config in self.choices.items() if type(value) is config)


def parse(config: type[Config], arguments: Sequence[str], *, prog: str, note: str = "") -> Config:
    """Makes a dataclass from command-line arguments.

    Args:
        config: the dataclass; its docstring is the help.
        arguments: the words of the command line, without the program's name.
        prog: the program's name, in the help.
        note: what the help says after the docstring's first part.

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
    options = _read(config, None, "", arguments)
    parser = _Parser(
        prog=prog,
        description=f"{_purpose(config)}\n\n{note}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # a field that is not given keeps its own default
        allow_abbrev=False,
    )
    declared = options.add_to(parser, parser)
    names = ["--help", *(option.name for option in declared)]
    usages = [option.usage for option in declared if option.usage]
    parser.usage = " ".join([prog, *usages, "[OPTIONS]"])
    for word in arguments:
        name = word.split("=")[0]
        if name.startswith("--") and name not in names:
            raise ValueError(f"there is no option {name}{suggestion(name, names)}")
    return typing.cast(Config, options.make(vars(parser.parse_args(arguments))))


def suggestion(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a word that is not known: what may be meant instead."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.75)
    return f": is {near[0]} meant?" if near else "."


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors, each one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}.")


class _Settings(TypedDict, total=False):
    """Keywords of `add_argument`."""

    dest: str
    action: str
    type: Callable[[str], object]
    choices: Sequence[object]
    nargs: str
    metavar: str
    required: bool
    help: str


class _Option(NamedTuple):
    """What `add_argument` takes for one field.

    Attributes:
        name: the option, or for an argument without a name its destination.
        destination: the field's name after those of the dataclasses around it.
        settings: the keywords.
        usage: how the usage shows it; empty where it may be left out.
    """

    name: str
    destination: str
    settings: _Settings
    usage: str = ""


class _Options(NamedTuple):
    """The options of a dataclass.

    Attributes:
        config: the dataclass.
        defaults: an instance, where the values of fields that are not given come from; or None.
        title: what the group of its options is called.
        own: the options of its fields.
        inner: the options of the dataclasses in its fields.
    """

    config: type[DataclassInstance]
    defaults: DataclassInstance | None
    title: str
    own: dict[str, _Option]
    inner: dict[str, _Options]

    def add_to(
        self, parser: argparse.ArgumentParser, group: argparse._ActionsContainer
    ) -> list[_Option]:
        """Declares every option, those of inner dataclasses in groups of their own."""
        for option in self.own.values():
            group.add_argument(option.name, **option.settings)
        declared = list(self.own.values())
        for inner in self.inner.values():
            declared += inner.add_to(parser, parser.add_argument_group(inner.title))
        return declared

    def make(self, values: Mapping[str, object]) -> DataclassInstance:
        """The dataclass with the values that were given."""
        given: dict[str, object] = {}
        for field, option in self.own.items():
            if option.destination in values:
                value = values[option.destination]
                given[field] = tuple(value) if isinstance(value, list) else value
        given |= {field: group.make(values) for field, group in self.inner.items()}
        if self.defaults is None:
            return self.config(**given)
        return dataclasses.replace(self.defaults, **given)


def _read(
    config: type[DataclassInstance],
    defaults: DataclassInstance | None,
    prefix: str,
    arguments: Sequence[str],
    title: str = "",
    marks: Sequence[object] = (),
) -> _Options:
    """The options of a dataclass; `arguments` say which of several dataclasses is meant."""
    hints = typing.get_type_hints(config, include_extras=True)
    options, texts = _Options(config, defaults, title, {}, {}), _attributes(config)
    one_of = {mark.field: mark for mark in marks if isinstance(mark, OneOf)}
    for field in dataclasses.fields(config):
        hint, inner_marks = hints[field.name], getattr(hints[field.name], "__metadata__", ())
        hint = hint.__origin__ if inner_marks else hint
        text, name = texts.get(field.name, ""), prefix + field.name
        inner_prefix = prefix if FLAT in inner_marks else f"{name}."
        default = _default(field, defaults)
        if field.name in one_of:
            choices, usual = one_of[field.name].choices, one_of[field.name].name_of(default)
            option = _option(name, Literal[tuple(choices)], usual, text)
            chosen = _chosen(option.name, choices, arguments) or usual
            options.own[field.name], inner_prefix = option, prefix
            hint, default = choices[chosen], default if chosen == usual else None
            text = f"--{field.name} {chosen}: {_purpose(hint)}"
        if dataclasses.is_dataclass(hint):
            default = typing.cast("DataclassInstance | None", default)
            default = None if default is dataclasses.MISSING else default
            title = text.rstrip(".")
            inner = _read(hint, default, inner_prefix, arguments, title, inner_marks)
            options.inner[field.name] = inner
        elif _can_be_read(hint):
            options.own[field.name] = _option(name, hint, default, text, inner_marks)
    return options


def _default(field: dataclasses.Field[object], defaults: DataclassInstance | None) -> object:
    """The default of a field: the value in `defaults`, or its own, or `dataclasses.MISSING`."""
    if defaults is not None:
        return getattr(defaults, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _can_be_read(hint: object) -> bool:
    """Whether words of a command line can give a value of this type."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return True
    if parts:
        return all(part in (type(None), ...) or _can_be_read(part) for part in parts)
    return hint in (bool, int, float, str, Path)


def _chosen(option: str, choices: Iterable[str], arguments: Sequence[str]) -> str | None:
    """The value of an option before anything is parsed, or None where it is not given."""
    for index, word in enumerate(arguments):
        name, given, value = word.partition("=")
        if name == option:
            value = value if given else " ".join(arguments[index + 1 : index + 2])
            if value not in choices:
                expected = " or ".join(map(repr, choices))
                raise ValueError(f"{option} is {value!r}: {expected} is expected")
            return value
    return None


def _option(
    destination: str, hint: object, default: object, text: str, marks: Sequence[object] = ()
) -> _Option:
    """The option of a field that holds a value."""
    name, required = f"--{destination.replace('_', '-')}", default is dataclasses.MISSING
    if hint is bool:
        if default is True:
            prefix, _, last = name.removeprefix("--").rpartition(".")
            name = f"--{prefix}{'.' if prefix else ''}no-{last}"
        action = "store_false" if default is True else "store_true"
        settings: _Settings = {"dest": destination, "action": action}
        return _Option(name, destination, {**settings, "help": _escaped(text)})
    settings = _reading(hint, required)
    if not required and default not in (None, ()):
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        text = f"{text} (default: {shown})"
    settings["help"] = _escaped(text)
    if POSITIONAL in marks:
        metavar = destination.upper()
        usage = f"{metavar} ..." if "nargs" in settings else metavar
        return _Option(destination, destination, {**settings, "metavar": metavar}, usage)
    usage = f"{name} {settings.get('metavar')}" if required else ""
    settings |= {"dest": destination, "required": required}
    return _Option(name, destination, settings, usage)


def _reading(hint: object, required: bool) -> _Settings:
    """How words become a value of a type: `add_argument`'s type, choices, nargs and metavar."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        kind = type(parts[0])
        return {"type": kind, "choices": parts, "metavar": f"{{{','.join(map(str, parts))}}}"}
    if type(None) in parts:  # X | None
        settings = _reading(next(part for part in parts if part is not type(None)), required)
        if "choices" in settings:
            settings["choices"] = (*settings["choices"], None)
        return {**settings, "type": _or_none(settings.get("type", str))}
    if typing.get_origin(hint) is tuple:
        return {**_reading(parts[0], required), "nargs": "+" if required else "*"}
    convert = typing.cast("type", hint)
    return {"type": convert, "metavar": convert.__name__.upper()}


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


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
