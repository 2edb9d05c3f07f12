"""A fitted model and its users on disk: `save` and `load`.

The arrays are one step of a checkpoint; the basis is stored as a name and its fields, and made anew
when it is loaded, so that nothing is ever pickled and a saved model does not run code.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from lore_jax.model.basis import LinearBasis, MLPBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import POSTERIOR_ARRAYS, Posterior
from lore_jax.model.prior import ItemEffects, Population
from lore_jax.solvers.mixture import Mixture
from lore_jax.storage.checkpoint.store import CheckpointStore, Restored

_BASES: dict[str, type[nn.Module]] = {basis.__name__: basis for basis in (LinearBasis, MLPBasis)}
_MIXTURE = ("log_share", "centre", "spread")
_TERMS = ("keys", "values", "variance")


def save(
    path: str | os.PathLike[str],
    model: Model,
    users: Posterior | None = None,
    *,
    encoder: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Saves a model, and the posterior of its users with their names.

    Args:
        path: the folder to make.
        model: a fitted model.
        users: what is known of its users, from `fit` or `adapt`.
        encoder: what makes the embeddings it takes, as in a cache's manifest; kept for
            `saved_encoder`.
        overwrite: replace a model that is there: the old one is removed when the new one is on the
            disk.

    Raises:
        ValueError: the basis is none of the library's.
        FileExistsError: the folder holds something already.
        BlockingIOError: another process is writing there.
        OSError: the disk refused; nothing is lost.

    Example:
        >>> save("model", model, users)
        >>> model, users = load("model")
    """
    state: dict[str, Any] = {
        "params": model.params,
        "input_scale": model.input_scale,
        "population": {"mean": model.population.mean, "factor": model.population.factor},
    }
    extra = {
        "basis": _describe_basis(model.basis),
        "family": model.family,
        "temperature": model.temperature,
        "encoder": None if encoder is None else dict(encoder),
    }
    if model.population.mixture is not None:
        state["mixture"] = {
            name: getattr(model.population.mixture, name) for name in _MIXTURE
        }
    if model.terms is not None:
        state["terms"] = {name: getattr(model.terms, name) for name in _TERMS}
    if users is not None:
        state["users"] = {name: getattr(users, name) for name in POSTERIOR_ARRAYS}
        extra["user_ids"] = (
            None if users.user_ids is None else [str(name) for name in users.user_ids]
        )
    with CheckpointStore(path, keep=1) as store:
        steps = store.steps()
        unexpected = sorted(
            entry.name for entry in store.path.iterdir() if entry.name not in map(str, steps)
        )
        if unexpected:
            raise FileExistsError(
                f"{store.path} holds {unexpected[0]!r}, which is no part of a saved model"
            )
        if steps and not overwrite:
            raise FileExistsError(
                f"{store.path} holds a model already: overwrite it explicitly or choose another folder"
            )
        store.save(max(steps, default=-1) + 1, jax.tree.map(_array, state), extra)


def load(path: str | os.PathLike[str]) -> tuple[Model, Posterior | None]:
    """Loads what `save` saved, on any number of devices.

    Args:
        path: the folder.

    Returns:
        The model, on the default device, and its users' posterior on the host, or None if none was
        saved.

    Raises:
        FileNotFoundError: there is no saved model.
        ValueError: it is corrupt, of a newer format, or something else was saved there.

    Example:
        >>> model, users = load("model")
        >>> posterior = adapt(model, few_shot_prefs)
    """
    _, arrays, extra = _restore(path)
    basis = _make_basis(extra["basis"])
    tree = unflatten_dict(arrays, sep="/")
    population, components, terms = jax.tree.map(
        jnp.asarray, (tree["population"], tree.get("mixture"), tree.get("terms"))
    )
    model = Model(
        basis=basis,
        params=jax.tree.map(jnp.asarray, tree["params"]),
        input_scale=jnp.asarray(tree["input_scale"]),
        population=Population(
            **population, mixture=None if components is None else Mixture(**components)
        ),
        family=extra["family"],
        temperature=extra["temperature"],
        terms=None if terms is None else ItemEffects(**terms),
    )
    if "users" not in tree:
        return model, None
    user_ids = extra["user_ids"]
    return model, Posterior(
        **tree["users"], user_ids=None if user_ids is None else np.array(user_ids, dtype=str)
    )


def saved_encoder(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What makes the embeddings that a saved model takes, or None if `save` was not told.

    Raises:
        FileNotFoundError: there is no saved model.
        ValueError: as `load`.
    """
    return _restore(path).extra["encoder"]


def _restore(path: str | os.PathLike[str]) -> Restored:
    with CheckpointStore(path, read_only=True) as store:
        restored = store.restore()
    if "basis" not in restored.extra:
        raise ValueError(
            f"{store.path} holds {', '.join(restored.extra) or 'arrays'}, but no model"
        )
    return restored


def _array(leaf: Any) -> Any:
    return (
        leaf if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable else np.asarray(leaf)
    )


def _describe_basis(basis: nn.Module) -> dict[str, Any]:
    name = type(basis).__name__
    if _BASES.get(name) is not type(basis):
        raise ValueError(f"the basis is a {name}: only {' or '.join(_BASES)} can be saved")
    fields = {field.name for field in dataclasses.fields(basis)} - {"parent", "name"}
    return {"name": name, **{field: getattr(basis, field) for field in sorted(fields)}}


def _make_basis(described: Mapping[str, Any]) -> nn.Module:
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in described.items()
    }
    name = fields.pop("name")
    if name not in _BASES:
        raise ValueError(f"the basis saved is a {name}: {' or '.join(_BASES)} is expected")
    return _BASES[name](**fields)
