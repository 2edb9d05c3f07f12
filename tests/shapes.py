"""Array annotations are checked while the tests run.

`install` checks every function and method of the package whose annotations name arrays by
jaxtyping (`Float[Array, "users rank"]`): its arguments and its result, axes of one name being
equally long within a call. `check_fields` does the same for the fields of a container. Containers
are not checked when they are made: JAX rebuilds them with whatever it maps over.
"""

import builtins
import collections
import functools
import importlib.machinery
import inspect
import re
import sys

import jax
import jaxtyping
import numpy as np
from beartype.door import is_bearable
from jaxtyping import jaxtyped

PACKAGE = "lore_jax"
ARRAY = re.compile(r"\b(B?Float\d*|U?Int\d*|Bool|Num|Real|Inexact|Shaped|Key)\[")


class Unknown(type):
    """The type of `Anything`, which stands for what modules import for type checkers only."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, key):
        return cls

    def __instancecheck__(cls, instance):
        return True


class Anything(metaclass=Unknown):
    """Everything is an instance of it."""


class Names(collections.ChainMap):
    """What a module's annotations may name: its own names, arrays, and unknown ones."""

    def __init__(self, module):
        arrays = {**vars(jaxtyping), "np": np, "jax": jax}
        super().__init__(vars(sys.modules[module]), arrays, vars(builtins))

    def __missing__(self, name):
        return Anything


def array_hints(owner):
    """The annotations of a function or class that name arrays, evaluated."""
    names, hints = Names(owner.__module__), {}
    for name, hint in owner.__annotations__.items():
        text = getattr(hint, "__forward_arg__", hint)  # named tuples wrap texts
        if ARRAY.search(str(text)):
            hints[name] = eval(text, {}, names) if isinstance(text, str) else text
    return hints


def describe(value):
    """The type of a value, with the shapes of arrays: `ndarray float32 [3, 4]`."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} {value.dtype} {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {', '.join(map(describe, value))}"
    return type(value).__name__


def check(value, hint, what):
    if not is_bearable(value, hint):
        raise AssertionError(f"{what} is {describe(value)}: {hint} is annotated")


def checked(function):
    """A function whose array annotations are checked at every call."""
    signature = inspect.signature(function)
    name = f"{function.__module__}.{function.__qualname__}"
    hints = functools.cache(lambda: array_hints(function))

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        with jaxtyped("context"):
            for parameter, hint in hints().items():
                if parameter in given:
                    check(given[parameter], hint, f"{name}: {parameter}")
            result = function(*args, **kwargs)
            if "return" in hints():
                check(result, hints()["return"], f"{name}: the result")
        return result

    return wrapper


def names_arrays(function):
    return any(ARRAY.search(str(text)) for text in function.__annotations__.values())


def check_module(module):
    """Replaces the functions of a module, and the methods of its classes, by checked ones."""
    for holder in [module, *filter(inspect.isclass, vars(module).values())]:
        if getattr(holder, "__module__", module.__name__) != module.__name__:
            continue
        for name, value in list(vars(holder).items()):
            is_own = inspect.isfunction(value) and value.__module__ == module.__name__
            if is_own and names_arrays(value) and not name.startswith("__"):
                setattr(holder, name, checked(value))


class Loader(importlib.machinery.SourceFileLoader):
    """Loads a module of the package, its functions checked."""

    def exec_module(self, module):
        super().exec_module(module)
        check_module(module)


class Finder(importlib.machinery.PathFinder):
    """Finds the modules of the package."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target) if name.startswith(f"{PACKAGE}.") else None
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install():
    """Checks every module of the package that is imported from now on."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


def is_container(value):
    return type(value).__module__.startswith(f"{PACKAGE}.") and (
        hasattr(value, "__dataclass_fields__") or hasattr(value, "_fields")
    )


def check_fields(container):
    """Checks the array fields of a container against their annotations; returns how many."""
    annotated = {}
    for base in reversed(type(container).__mro__):
        if "__annotations__" in vars(base):
            annotated |= array_hints(base)
    with jaxtyped("context"):
        for name, hint in annotated.items():
            check(getattr(container, name), hint, f"{type(container).__name__}.{name}")
    return len(annotated)


def containers_in(value):
    """Every container of the package within a value, by walking fields, lists and dicts."""
    if is_container(value):
        yield value
        names = getattr(value, "_fields", None) or value.__dataclass_fields__
        children = [getattr(value, name) for name in names]
    elif isinstance(value, dict):
        children = list(value.values())
    else:
        children = list(value) if isinstance(value, list | tuple) else []
    for child in children:
        yield from containers_in(child)
