"""One list of questions for everybody, and what it is expected to be worth before anybody answers.

The list is the greedy V-optimal one for a user about whom nothing is known: what is expected of an
answer is averaged over the population. What it is worth is simulated: users are drawn from the
prior, answer, and are adapted to.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Components, population_posterior
from lore_jax.solvers.likelihood import Likelihood
from lore_jax.users.adapt import adapt_rewards
from lore_jax.users.candidates import check_pairs
from lore_jax.users.questions import ask

_TARGETS_AT_A_TIME = 1 << 22  # margins of simulated users


class Questionnaire(NamedTuple):
    """A list of questions for everybody; made by `questionnaire`.

    Attributes:
        pairs: rows of the table, in the order in which to ask, int32 `[length, 2]`.
        accuracy: share of choices between the responses of target pairs that are expected to be
            predicted after the first 0, 1, ... questions, `[length + 1]`.
        ceiling: the same if users' weights were known.
    """

    pairs: Int[np.ndarray, "length 2"]
    accuracy: Float[np.ndarray, " lengths"]
    ceiling: float


def questionnaire(
    model: Model,
    embeddings: Float[Array | np.ndarray, "responses dim"],
    candidates: ArrayLike,
    length: int,
    *,
    targets: ArrayLike | None = None,
    num_users: int = 1000,
    key: jax.Array,
) -> Questionnaire:
    """The list of comparisons that teaches most about users on the average.

    Args:
        model: a fitted model, whose prior is the population.
        embeddings: the table, `[responses, dim]`.
        candidates: rows of the table, `[c, 2]`.
        length: how many questions.
        targets: pairs `[t, 2]` that the model will be asked about later; None: the candidates.
        num_users: how many users are simulated.
        key: source of the simulated users and answers.

    Returns:
        The `Questionnaire`. It is shorter than `length` where candidates run out.

    Raises:
        ValueError: as `ask`; or `num_users` is below 1.

    Example:
        >>> listed = questionnaire(
        ...     model, prefs.embeddings, candidate_pairs(prefs), 5, key=jax.random.key(0)
        ... )
        >>> listed.pairs.shape
        (5, 2)
    """
    if num_users < 1:
        raise ValueError(f"num_users is {num_users}: 1 or more is expected")
    responses = embeddings.shape[0]
    pairs = check_pairs("candidates", candidates, 1, responses)
    later = pairs if targets is None else check_pairs("targets", targets, 1, responses)
    goal = None if targets is None else targets
    nobody = _without_answers(embeddings)
    population = population_posterior(model, 1)
    found = ask(model, population, nobody, pairs, count=length, criterion="v_optimal", targets=goal)
    kept = found.index[0] >= 0
    listed = np.stack([found.first[0], found.second[0]], axis=1)[kept]
    accuracy, ceiling = _simulate(model, embeddings, listed, later.reshape(-1, 2), num_users, key)
    return Questionnaire(listed, accuracy, ceiling)


def draw_users(model: Model, count: int, key: jax.Array) -> Float[np.ndarray, "users rank"]:
    """Weights of users drawn from the model's prior, component by component.

    Example:
        >>> draw_users(model, 4, jax.random.key(0)).shape
        (4, 3)
    """
    known = prior_components(model)
    which, noise = jax.random.split(key)
    component = jax.random.categorical(which, known.log_share[0], shape=(count,))
    values, vectors = np.linalg.eigh(np.asarray(known.covariance[0], np.float64))
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None]
    drawn = np.asarray(jax.random.normal(noise, (count, model.rank)))
    away = np.einsum("urk,uk->ur", root[np.asarray(component)], drawn)
    return (np.asarray(known.weights[0])[np.asarray(component)] + away).astype(np.float32)


def prior_components(model: Model) -> Components:
    """What is known of one user before any answer, component by component."""
    columns = model.prior.project(jnp.zeros((1, 1, model.rank)))
    return model.prior.components(jnp.moveaxis(columns, -1, 0), jnp.zeros((1, 1)), model.likelihood)


def choices(
    likelihood: Likelihood, margin: Float[np.ndarray, "*any"], key: jax.Array
) -> np.ndarray:
    """Whether simulated users with given margins choose the first response."""
    first, second = (
        np.exp(-np.asarray(likelihood.loss(jnp.asarray(z)))) for z in (margin, -margin)
    )
    return np.asarray(jax.random.uniform(key, margin.shape)) * (first + second) < first


def _without_answers(embeddings: Float[Array | np.ndarray, "responses dim"]) -> Preferences:
    return from_arrays(embeddings, [], [], [], num_users=1)


def _simulate(
    model: Model,
    embeddings: Float[Array | np.ndarray, "responses dim"],
    listed: np.ndarray,
    targets: np.ndarray,
    num_users: int,
    key: jax.Array,
) -> tuple[np.ndarray, float]:
    """Expected accuracy after each number of answers, and with known weights."""
    drawing, answering = jax.random.split(key)
    on_device = rewards(model, embeddings).table
    table, weights = np.asarray(on_device), draw_users(model, num_users, drawing)
    features = table[listed[:, 0]] - table[listed[:, 1]]
    first = choices(model.likelihood, weights @ features.T, answering)
    # A user of the simulation after n answers is a user of its own: all are adapted to in one call.
    lengths = np.arange(len(listed) + 1)
    user, question = np.nonzero(np.arange(len(listed)) < np.tile(lengths, num_users)[:, None])
    is_first = first[user // len(lengths), question]
    sides = listed[question]
    prefs = from_arrays(
        embeddings,
        np.where(is_first, sides[:, 0], sides[:, 1]),
        np.where(is_first, sides[:, 1], sides[:, 0]),
        user,
        num_users=num_users * len(lengths),
    )
    posterior = adapt_rewards(model, on_device, prefs)
    guessed = np.asarray(posterior.weights).reshape(num_users, len(lengths), -1)
    later = table[targets[:, 0]] - table[targets[:, 1]]
    right, best = np.zeros(len(lengths)), 0.0
    size = max(1, _TARGETS_AT_A_TIME // (len(lengths) * len(later)))
    for at in range(0, num_users, size):
        margin = weights[at : at + size] @ later.T
        chance = np.exp(-np.asarray(model.likelihood.loss(jnp.asarray(margin))))
        says = np.einsum("unr,tr->unt", guessed[at : at + size], later) > 0
        right += np.where(says, chance[:, None], 1.0 - chance[:, None]).mean(axis=2).sum(axis=0)
        best += np.maximum(chance, 1.0 - chance).mean(axis=1).sum()
    return right / num_users, float(best / num_users)
