"""A fitted model and its users on disk: `save` and `load`.

The arrays are one step of a checkpoint. Basis and its posterior, prior, item effects and likelihood
are stored as names and fields (`saved_parts`), so that nothing is ever pickled and a saved model
does not run code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from lore_jax.data.encoder_identity import identity_of
from lore_jax.model.basis import input_width
from lore_jax.model.model import Model
from lore_jax.model.posterior import POSTERIOR_ARRAYS, Posterior
from lore_jax.model.saved_parts import arrays_of, describe, rebuild
from lore_jax.storage.checkpoint.store import CheckpointStore, Restored
from lore_jax.storage.json_fields import Count, Versioned, check_fields

FORMAT_VERSION = 3
CARD = "README.md"  # beside the arrays: what `lore-jax evaluate` found of this model
_PARTS = ("basis", "prior", "item_effects", "likelihood", "basis_posterior")


class PartEntry(TypedDict):
    """A part of a model: its class, beside whatever fields it has."""

    name: str


class PartEntries(TypedDict):
    """The parts that every model has, and those that some have."""

    basis: PartEntry
    prior: PartEntry
    item_effects: NotRequired[PartEntry]
    likelihood: NotRequired[PartEntry]
    basis_posterior: NotRequired[PartEntry]


class AnswerFields(TypedDict):
    """How people answer, beside the arrays: of a model of answers of every kind."""

    ties: Literal["davidson", "rao-kupper"]
    lapse: float
    scales: list[str]


class SavedFields(TypedDict):
    """What is kept beside the arrays of a model, its users' names among it if they have any."""

    format_version: Count
    parts: PartEntries
    temperature: float
    encoder: dict[str, Any] | None
    user_ids: NotRequired[list[str] | None]
    answers: NotRequired[AnswerFields]


def save(
    path: str | os.PathLike[str],
    model: Model,
    users: Posterior | None = None,
    *,
    encoder: Mapping[str, object] | None = None,
    overwrite: bool = False,
) -> None:
    """Saves a model, and the posterior of its users with their names.

    Args:
        path: the folder to make.
        model: a fitted model.
        users: what is known of its users, from `fit` or `adapt`.
        encoder: what makes the embeddings it takes, as in a cache's manifest; None: what the model
            knows of it.
        overwrite: replace a model that is there: the old one, and its card, are removed when the
            new one is on the disk.

    Raises:
        ValueError: the basis, prior or likelihood is neither the library's nor `storable`.
        FileExistsError: the folder holds something already.
        BlockingIOError: another process is writing there.
        OSError: the disk refused; nothing is lost.

    Example:
        >>> save("model", model, users)  # doctest: +SKIP
        >>> model, users = load("model")  # doctest: +SKIP
    """
    write_saved(path, *contents(model, users, encoder=encoder), overwrite=overwrite)


def contents(
    model: Model, users: Posterior | None, *, encoder: Mapping[str, object] | None
) -> tuple[dict[str, Any], dict[str, object]]:
    """The arrays of a saved model, and the fields beside them; what else is saved is put in."""
    parts = {name: getattr(model, name) for name in _PARTS if getattr(model, name) is not None}
    state = {name: arrays for name, part in parts.items() if (arrays := arrays_of(part))}
    state |= {"params": model.params, "input_scale": model.input_scale}
    if encoder is None and model.encoder is not None:
        encoder = json.loads(model.encoder)
    extra: dict[str, object] = {
        "format_version": FORMAT_VERSION,
        "parts": {name: describe(name, part) for name, part in parts.items()},
        "temperature": model.temperature,
        "encoder": None if encoder is None else dict(encoder),
    }
    if users is not None:
        state["users"] = {name: getattr(users, name) for name in POSTERIOR_ARRAYS}
        extra["user_ids"] = (
            None if users.user_ids is None else [str(name) for name in users.user_ids]
        )
    return state, extra


def write_saved(
    path: str | os.PathLike[str],
    state: Mapping[str, Any],
    extra: Mapping[str, object],
    *,
    overwrite: bool,
) -> None:
    """Writes what `contents` gave as the only step of a checkpoint; raises as `save`."""
    with CheckpointStore(path, keep=1) as store:
        steps = store.steps()
        expected = {CARD, *map(str, steps)}
        unexpected = sorted({entry.name for entry in store.path.iterdir()} - expected)
        if unexpected:
            raise FileExistsError(
                f"{store.path} holds {unexpected[0]!r}, which is no part of a saved model"
            )
        if steps and not overwrite:
            raise FileExistsError(
                f"{store.path} holds a model already: overwrite it explicitly or choose another "
                "folder"
            )
        store.save(max(steps, default=-1) + 1, jax.tree.map(_array, dict(state)), dict(extra))
        if jax.process_index() == 0:
            (store.path / CARD).unlink(missing_ok=True)  # it was about another model


def load(path: str | os.PathLike[str]) -> tuple[Model, Posterior | None]:
    """Loads what `save` saved, or a finished run, on any number of devices.

    Args:
        path: the folder of a saved model, or of a run.

    Returns:
        The model, on the default device, and its users' posterior on the host, or None if none was
        saved.

    Raises:
        FileNotFoundError: there is no saved model.
        ValueError: it is corrupt, of another format, or something else was saved there.

    Example:
        >>> model, users = load("model")  # doctest: +SKIP
        >>> posterior = adapt(model, few_shot_prefs)  # doctest: +SKIP
    """
    return rebuilt(path, *read_saved(path))


def rebuilt(
    path: str | os.PathLike[str], tree: Mapping[str, Any], extra: Mapping[str, Any]
) -> tuple[Model, Posterior | None]:
    """Model and users from what `read_saved` gave; ValueError if they are not whole."""
    try:
        model = _rebuild_model(tree, extra)
        users = _rebuild_users(tree["users"], extra) if "users" in tree else None
    except ValueError as error:
        raise ValueError(f"{path} holds no whole model: {error}") from error
    return model, users


def read_saved(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of a saved model as a tree, and the fields beside them; raises as `load`."""
    restored = _restore(path)
    return unflatten_dict(restored.state, sep="/"), restored.extra


def saved_encoder(path: str | os.PathLike[str]) -> dict[str, object] | None:
    """What makes the embeddings that a saved model takes, or None if `save` was not told.

    Raises:
        FileNotFoundError: there is no saved model.
        ValueError: as `load`.
    """
    return _restore(path).extra["encoder"]


def _restore(path: str | os.PathLike[str]) -> Restored:
    in_run = Path(path) / "model"
    path = in_run if in_run.is_dir() else path
    with CheckpointStore(path, read_only=True) as store:
        restored = store.restore()
    extra = {"format_version": 1, **restored.extra}
    if "parts" not in extra and "basis" not in extra:
        raise ValueError(
            f"{store.path} holds {', '.join(restored.extra) or 'arrays'}, but no model"
        )
    check_fields(extra, Versioned, str(store.path))
    if (version := extra["format_version"]) != FORMAT_VERSION:
        advice = "update lore_jax" if version > FORMAT_VERSION else "fit and save it again"
        raise ValueError(
            f"{store.path} holds a model of format version {version}, this lore_jax reads "
            f"{FORMAT_VERSION}: {advice}"
        )
    check_fields(extra, SavedFields, str(store.path))
    return restored


def _array(leaf: jax.Array) -> jax.Array | np.ndarray:
    return (
        leaf if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable else np.asarray(leaf)
    )


def _rebuild_model(tree: Mapping[str, Any], extra: Mapping[str, Any]) -> Model:
    """The model; ValueError if its arrays are not those that its parts take."""
    described = extra["parts"]
    if unknown := sorted(described.keys() - set(_PARTS)):
        raise ValueError(f"{unknown[0]!r} is no part of a model")
    parts = {name: rebuild(name, of, tree.get(name, {})) for name, of in described.items()}
    if lacking := [name for name in ("params", "input_scale") if name not in tree]:
        raise ValueError(f"it has no {lacking[0]}")
    params = jax.tree.map(jnp.asarray, tree["params"])
    scale, temperature = jnp.asarray(tree["input_scale"]), extra["temperature"]
    model = Model(
        params=params,
        input_scale=scale,
        temperature=temperature,
        encoder=identity_of(extra["encoder"]),
        **parts,
    )
    try:
        row = jax.ShapeDtypeStruct((1, input_width(params)), jnp.float32)
        made = jax.eval_shape(
            lambda rows: model.basis.apply({"params": params}, rows, scale), row
        ).shape
    except Exception as error:  # Flax has types of its own for each way not to fit
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"its arrays are not those of its basis: {line[:200]}") from error
    if made != (1, model.rank):
        raise ValueError(f"its basis makes {made[-1]} rewards, its prior has rank {model.rank}")
    return model


def _rebuild_users(arrays: Mapping[str, Any], extra: Mapping[str, Any]) -> Posterior:
    """The users' posterior; ValueError if an array is missing or of another length."""
    named = {"covariance": None, **arrays}
    if named.keys() != set(POSTERIOR_ARRAYS):
        odd = sorted(named.keys() ^ set(POSTERIOR_ARRAYS))
        raise ValueError(f"users/{odd[0]} is missing, or no part of a posterior")
    names = extra.get("user_ids")
    lengths = {name: len(array) for name, array in arrays.items()}
    lengths |= {} if names is None else {"names": len(names)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"its users are {', '.join(f'{n} {name}' for name, n in lengths.items())}")
    return Posterior(**named, user_ids=None if names is None else np.array(names, dtype=str))
