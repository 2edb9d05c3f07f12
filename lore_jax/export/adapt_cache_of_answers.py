"""Adapting to the answers of a cache on disk, as they were said, some users at a time.

What stays in memory is the rewards of the table, `rank` numbers a response, and the answers;
embeddings are read part by part, and posteriors are handed on as soon as they are known.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from lore_jax.data.long_rows import without_answers_about
from lore_jax.export.adapt_cache import rewards_of_cache
from lore_jax.model.answer_model import AnswerModel
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.storage.cache.answers import load_feedback
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.users.answering import AnswerPosterior, adapt_answers

_OF_INTERCEPTS = ("intercept", "intercept_variance", "intercept_covariance")


def adapt_cache_of_answers(
    model: Model,
    answers: AnswerModel,
    path: str | os.PathLike[str],
    *,
    users_at_a_time: int = 2**18,
) -> Iterator[AnswerPosterior]:
    """What the users' answers say of them, in the order of the cache, some of them at a time.

    Args:
        model: a fitted model.
        answers: how people answer, of the same fit.
        path: the folder of a cache, over embeddings of the model's encoder.
        users_at_a_time: how many users' posteriors are in memory together.

    Yields:
        `adapt_answers`' result for the next users, with their names if the cache has any.

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: a file is corrupt, the embeddings are of another width than the model's, or the
            cache has a scale that the fit did not know.

    Example:
        >>> for known in adapt_cache_of_answers(model, answers, "cache"):  # doctest: +SKIP
        ...     known.users.weights
    """
    if users_at_a_time < 1:
        raise ValueError(f"users_at_a_time is {users_at_a_time}: 1 or more is expected")
    feedback = load_feedback(path)
    table, is_long = rewards_of_cache(model, Path(path), read_manifest(path))
    if is_long is not None:
        feedback = without_answers_about(feedback, is_long)
    # Rewards are the embeddings of a model whose basis is the identity.
    params = {"V": jnp.eye(model.rank)}
    identity = Model(LinearBasis(model.rank), params, jnp.ones(()), model.prior)
    feedback = dataclasses.replace(feedback, embeddings=table)
    for first in range(0, max(1, feedback.num_users), users_at_a_time):
        users = np.arange(first, min(first + users_at_a_time, feedback.num_users))
        yield adapt_answers(identity, answers, feedback.take_users(users))


def with_users(parts: Sequence[AnswerPosterior], users: Posterior) -> AnswerPosterior:
    """Parts of a population as one, its weights and names being those of `users`.

    Example:
        >>> known = adapt_answers(model, begin_answers(feedback), feedback)
        >>> with_users([known], known.users).intercept.shape
        (40,)
    """
    arrays = {
        name: np.concatenate([np.asarray(getattr(part, name)) for part in parts])
        for name in _OF_INTERCEPTS
    }
    return AnswerPosterior(users, **arrays)
