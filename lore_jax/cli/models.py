"""The models that commands take: a run or a saved model, and whether a cache fits it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lore_jax.data.encoder_identity import check_encoder, differences, identity_of
from lore_jax.model.answer_model import AnswerModel
from lore_jax.model.basis import input_width
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.model.saved import load, saved_encoder
from lore_jax.runs.folder import MANIFEST, MODEL, read_run
from lore_jax.storage.cache.manifest import encoder_fingerprint, read_manifest
from lore_jax.users.answering import AnswerPosterior
from lore_jax.users.saved_answers import holds_answers, load_answers

if TYPE_CHECKING:
    from lore_jax.embed.text_encoder import TextEncoder


class LoadedModel(NamedTuple):
    """A model, its users and what makes the embeddings it takes, as far as saved; its folder.

    `said` is there where it was fitted to answers of every kind: how people answer, and the users.
    """

    model: Model
    users: Posterior | None
    encoder: Mapping[str, object] | None
    path: Path
    said: tuple[AnswerModel, AnswerPosterior | None] | None = None


def load_model(path: Path) -> LoadedModel:
    """Loads the model of a run, or a saved model.

    Raises:
        FileNotFoundError: neither is there, or the run has not finished.
        ValueError: what is there is corrupt.
    """
    folder = path
    if (path / MANIFEST).exists():
        if not read_run(path).is_finished:
            text = f"{path} is not finished: `lore-jax fit --resume` goes on with it"
            raise FileNotFoundError(text)
        folder = path / MODEL
    elif not path.is_dir() or not any(entry.name.isdecimal() for entry in path.iterdir()):
        raise FileNotFoundError(f"{path} is neither a run nor a saved model")
    encoder = saved_encoder(folder)
    if holds_answers(folder):
        model, answers, users = load_answers(folder)
        posterior = None if users is None else users.users
        return LoadedModel(model, posterior, encoder, path, (answers, users))
    return LoadedModel(*load(folder), encoder, path)


def refuse_other_encoder(loaded: LoadedModel, cache: Path) -> None:
    """Refuses a cache whose embeddings another encoder made.

    Raises:
        ValueError: the manifests disagree; the message says where.
    """
    manifest, dim, path = read_manifest(cache), input_width(loaded.model.params), loaded.path
    if manifest["dim"] != dim:
        raise ValueError(f"{cache} has dim {manifest['dim']}, {path} was fitted on dim {dim}")
    if loaded.encoder is None:
        return
    expected, encoder = loaded.encoder, manifest["encoder"]
    if encoder_fingerprint(manifest) != encoder_fingerprint({"encoder": expected, "dim": dim}):
        which = differences(encoder, expected)
        raise ValueError(f"{cache} holds embeddings of another encoder than {path}: {which}")


def load_own_encoder(loaded: LoadedModel, folder: Path) -> TextEncoder:
    """Loads the encoder that embedded what a model was fitted on, as it embedded it.

    Raises:
        FileNotFoundError: the folder or a part of it is missing.
        ValueError: it is another encoder; the message says in what.
    """
    from lore_jax.embed.text_encoder import EmbedConfig, load_encoder

    known = loaded.encoder or {}
    settings = {name: known[name] for name in ("dtype", "max_length") if name in known}
    encoder = load_encoder(folder, EmbedConfig(**settings))  # pyright: ignore[reportArgumentType]
    width = input_width(loaded.model.params)
    if encoder.model.dim != width:
        problem = f"embeddings of dim {encoder.model.dim}, {loaded.path} was fitted on dim {width}"
        raise ValueError(f"{folder} makes {problem}")
    expected = identity_of(loaded.encoder)
    check_encoder(encoder, expected, name=str(folder), of=str(loaded.path))
    return encoder


def user_numbers(users: Posterior) -> dict[str, int]:
    """Each user's position by name; users without names are called by their numbers."""
    names = range(users.num_users) if users.user_ids is None else users.user_ids
    return {str(name): at for at, name in enumerate(names)}
