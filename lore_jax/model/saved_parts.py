"""Parts of a saved model: a class's name and fields, from which it is made anew.

Arrays are kept apart from the other fields, by the names of the fields that hold them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.model.basis import LinearBasis, MLPBasis
from lore_jax.model.basis_posterior import BasisPosterior
from lore_jax.model.prior import GaussianPrior, ItemEffects, MixturePrior, SimplexPrior
from lore_jax.solvers.likelihood import Logistic
from lore_jax.solvers.mixture import Mixture
from lore_jax.storage.json_fields import check_fields

_CLASSES: dict[str, type] = {}
# What fields of parts hold, by their annotation; those of other types are not checked.
_KINDS = {"int": int, "float": float, "bool": bool, "str": str, "Sequence[int]": list[int]}
Class = TypeVar("Class", bound=type)


def storable(cls: Class) -> Class:
    """Makes a basis, prior or likelihood of one's own loadable; a class decorator.

    It is stored by its name; whoever loads it must have registered the same class.
    """
    _CLASSES[cls.__name__] = cls
    return cls


for _class in (
    *(LinearBasis, MLPBasis),
    *(GaussianPrior, MixturePrior, SimplexPrior, Mixture, ItemEffects, BasisPosterior),
    Logistic,
):
    storable(_class)


def _fields(part: object) -> dict[str, object]:
    """A dataclass's fields; Flax modules have two more of their own."""
    fields = dataclasses.fields(part)  # pyright: ignore[reportArgumentType]
    names = {field.name for field in fields} - {"parent", "name"}
    return {name: getattr(part, name) for name in sorted(names)}


def arrays_of(part: object) -> dict[str, object]:
    """The arrays in a part, parts within it included, by the names of their fields."""
    found: dict[str, object] = {}
    for name, value in _fields(part).items():
        if dataclasses.is_dataclass(value):
            found[name] = arrays_of(value)
        elif isinstance(value, jax.Array | np.ndarray):
            found[name] = value
    return found


def describe(what: str, part: object) -> dict[str, object]:
    """Name and fields of a part, without its arrays.

    Args:
        what: what it is to the model, for messages.
        part: a dataclass that is `storable`.

    Returns:
        What `rebuild` takes.

    Raises:
        ValueError: it is not storable.

    Example:
        >>> describe("basis", LinearBasis(3))
        {'name': 'LinearBasis', 'init_scale': 1.0, 'rank': 3}
    """
    name = type(part).__name__
    if _CLASSES.get(name) is not type(part):
        known = " or ".join(sorted(_CLASSES))
        raise ValueError(f"{what} is a {name}: only {known} can be saved; see storable")
    described: dict[str, object] = {"name": name}
    for field, value in _fields(part).items():
        if dataclasses.is_dataclass(value):
            described[field] = describe(field, value)
        elif not isinstance(value, jax.Array | np.ndarray):
            described[field] = value
    return described


def rebuild(what: str, described: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    """The part that `describe` and `arrays_of` came from.

    Args:
        what: what it is to the model, for messages.
        described: name and fields.
        arrays: the arrays.

    Returns:
        The part.

    Raises:
        ValueError: no class of the name is storable, or fields are not its own.

    Example:
        >>> rebuild("basis", {"name": "LinearBasis", "rank": 3}, {}).rank
        3
    """
    name = described.get("name")
    if not isinstance(name, str) or name not in _CLASSES:
        known = " or ".join(sorted(_CLASSES))
        raise ValueError(f"{what}: a {name} was saved: {known} is expected; see storable")
    cls = _CLASSES[name]
    known = {field.name: field for field in dataclasses.fields(cls)}
    missing = dataclasses.MISSING
    needed = {
        field.name
        for field in known.values()
        if field.default is missing and field.default_factory is missing
    }
    fields = {field: value for field, value in described.items() if field != "name"}
    for field, value in fields.items():
        if isinstance(value, dict):
            fields[field] = rebuild(f"{what}.{field}", value, arrays.get(field, {}))
            continue
        kind = _KINDS.get(str(known[field].type)) if field in known else None
        if kind is not None:
            check_fields(value, kind, f"{what}.{field}")
        if isinstance(value, list):
            fields[field] = tuple(value)
    fields |= {field: jnp.asarray(value) for field, value in arrays.items() if field not in fields}
    if odd := sorted(fields.keys() - known.keys()) or sorted(needed - fields.keys()):
        raise ValueError(f"{what}.{odd[0]} is missing, or no field of {name}")
    return cls(**fields)
