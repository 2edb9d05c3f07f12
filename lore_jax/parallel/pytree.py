"""Frozen dataclasses that JAX takes for trees of arrays, and never one for another.

`jax.tree_util.register_dataclass`, which `flax.struct.dataclass` is made of, compares two trees by
their static fields and leaves, not by their classes (jaxlib 0.10): a mode's prior and a mean's are
then equal, only their hashes differ. A compiled program is looked up by hash first, of which a few
bits are compared; now and then two classes have these in common, and one is solved by the other's
program, without a word. Nodes registered as here are compared by class as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar, dataclass_transform

import jax

Class = TypeVar("Class", bound=type)

_STATIC = {"static": True}


def static(**options: Any) -> Any:
    """A field that is part of a program and not of its arguments; options of `dataclasses.field`.

    Example:
        >>> @pytree
        ... class Scaled:
        ...     values: jax.Array
        ...     power: int = static(default=1)
        >>> jax.tree.leaves(Scaled(3.0, power=2))
        [3.0]
    """
    return dataclasses.field(metadata=_STATIC, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
def pytree(cls: Class) -> Class:
    """Makes a class a frozen dataclass and a tree whose children are its fields, but static ones.

    Args:
        cls: a class with annotated fields.

    Returns:
        The same class.

    Example:
        >>> @pytree
        ... class Mode:
        ...     at: float
        >>> @pytree
        ... class Mean:
        ...     at: float
        >>> jax.tree.map(lambda leaf: 2 * leaf, Mode(1.0))
        Mode(at=2.0)
        >>> jax.tree.structure(Mode(1.0)) == jax.tree.structure(Mean(1.0))
        False
    """
    made = dataclasses.dataclass(frozen=True)(cls)
    made.replace = dataclasses.replace  # `node.replace(field=value)`, as Flax's have it
    fields = dataclasses.fields(made)
    fixed = tuple(field.name for field in fields if "static" in field.metadata)
    names = tuple(field.name for field in fields if field.name not in fixed)
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in names)

    def flatten(node: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(node, name) for name in names], tuple(getattr(node, f) for f in fixed)

    def flatten_with_keys(node: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        children, static_values = flatten(node)
        return list(zip(keys, children, strict=True)), static_values

    def unflatten(static_values: tuple[Any, ...], children: Iterable[Any]) -> Any:
        values = zip(names + fixed, (*children, *static_values), strict=True)
        return made(**dict(values))

    jax.tree_util.register_pytree_with_keys(made, flatten_with_keys, unflatten, flatten)
    return made
