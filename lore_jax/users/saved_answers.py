"""A model of answers of every kind on disk: the saved model, and how people answer beside it.

The folder is that of `lore.save` with a few arrays more (cut points, ties, users' intercepts), so
that `lore.load` takes it for the model and the users that it holds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import AnswerModel, Ties
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.model.saved import AnswerFields, contents, read_saved, rebuilt, write_saved
from lore_jax.users.answering import AnswerPosterior

_INTERCEPTS = ("intercept", "intercept_variance", "intercept_covariance")


def save_answers(
    path: str | os.PathLike[str],
    model: Model,
    answers: AnswerModel,
    users: AnswerPosterior | None = None,
    *,
    encoder: Mapping[str, object] | None = None,
    overwrite: bool = False,
) -> None:
    """Saves a model, how people answer, and what is known of its users, with their names.

    Args:
        path: the folder to make.
        model: a fitted model.
        answers: how people answer, of the same fit.
        users: what is known of its users, from `fit_feedback` or `adapt_answers`.
        encoder: what makes the embeddings it takes; None: what the model knows of it.
        overwrite: replace a model that is there.

    Raises:
        ValueError: the basis, prior or likelihood is neither the library's nor `storable`.
        FileExistsError: the folder holds something already.
        BlockingIOError: another process is writing there.
        OSError: the disk refused; nothing is lost.

    Example:
        >>> save_answers("model", model, begin_answers(feedback))
        >>> _, answers, users = load_answers("model")
        >>> sorted(answers.free), users
        (['rating 5', 'strength 5', 'tie 3'], None)
    """
    state, extra = contents(model, None if users is None else users.users, encoder=encoder)
    free = {"free": dict(answers.free)} if answers.free else {}
    state["answers"] = {"intercept": answers.intercept, **free}
    if users is not None:
        state["intercepts"] = {name: getattr(users, name) for name in _INTERCEPTS}
    about = {"ties": answers.ties, "lapse": answers.lapse, "scales": sorted(answers.free)}
    write_saved(path, state, {**extra, "answers": about}, overwrite=overwrite)


def load_answers(
    path: str | os.PathLike[str],
) -> tuple[Model, AnswerModel, AnswerPosterior | None]:
    """Loads what `save_answers` saved, or a finished run that fitted answers as they were said.

    Args:
        path: the folder of a saved model, or of a run.

    Returns:
        The model, how people answer, and its users, or None if none were saved.

    Raises:
        FileNotFoundError: there is no saved model.
        ValueError: it is corrupt, of another format, or a model of pairs alone.

    Example:
        >>> model, answers, users = load_answers("run")  # doctest: +SKIP
        >>> known = adapt_answers(model, answers, load_feedback("cache"))  # doctest: +SKIP
    """
    tree, extra = read_saved(path)
    if "answers" not in extra:
        raise ValueError(f"{path} holds a model of pairs alone: lore.load takes it")
    model, users = rebuilt(path, tree, extra)
    try:
        answers = _rebuild_answers(tree.get("answers", {}), extra["answers"])
        if users is None:
            return model, answers, None
        return model, answers, _rebuild_users(users, tree.get("intercepts", {}))
    except ValueError as error:
        raise ValueError(f"{path} holds no whole model of answers: {error}") from error


def holds_answers(path: str | os.PathLike[str]) -> bool:
    """Whether a saved model, or a finished run, has how people answer; raises as `load_answers`."""
    return "answers" in read_saved(path)[1]


def _rebuild_answers(arrays: Mapping[str, Any], fields: AnswerFields) -> AnswerModel:
    free = arrays.get("free", {})
    if sorted(free) != sorted(fields["scales"]):
        odd = sorted(set(free) ^ set(fields["scales"]))
        raise ValueError(f"the scale {odd[0]!r} is missing, or nobody said it was there")
    for scale, values in free.items():
        expected = _num_parameters(scale, fields["ties"])
        if np.shape(values) != (expected,) or not np.isfinite(values).all():
            got = f"{scale!r} has parameters of shape {np.shape(values)}"
            raise ValueError(f"{got}: {expected} finite ones are expected")
    if "intercept" not in arrays or np.shape(arrays["intercept"]) != ():
        raise ValueError("answers/intercept is missing, or no number")
    return AnswerModel(
        {scale: jnp.asarray(values) for scale, values in free.items()},
        jnp.asarray(arrays["intercept"]),
        fields["ties"],
        fields["lapse"],
    )


def _num_parameters(scale: str, ties: Ties) -> int:
    """How many numbers a scale has; ValueError if there is no such scale."""
    name, _, levels = scale.partition(" ")
    if name not in ("tie", "strength", "rating") or not levels.isdecimal():
        raise ValueError(f"{scale!r} is no scale: 'rating 5' is one")
    if name == "tie" and ties == "davidson":
        return 1
    kind = Kind(name, 1 if name == "rating" else 2, int(levels))
    return kind.levels - 1 if name == "rating" else (kind.levels - 1) // 2


def _rebuild_users(users: Posterior, arrays: Mapping[str, Any]) -> AnswerPosterior:
    count, rank = np.shape(users.weights)
    shapes = dict(zip(_INTERCEPTS, [(count,), (count,), (count, rank)], strict=True))
    for name, shape in shapes.items():
        if name not in arrays or np.shape(arrays[name]) != shape:
            raise ValueError(f"intercepts/{name} is missing, or not of shape {list(shape)}")
    return AnswerPosterior(users, **{name: np.asarray(arrays[name]) for name in shapes})
