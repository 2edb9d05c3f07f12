"""Which tie, strength, rating or ranking to ask every user for: the answer that would teach most.

Information is in nats whatever is asked, so that kinds can be compared: whether a ranking of four
is worth more than three ratings is a question of how long each takes a person.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import AnswerModel
from lore_jax.model.model import Model, rewards
from lore_jax.users.answer_criteria import (
    AnswerPicks,
    margin_features,
    next_answers,
    nodes_at_once,
)
from lore_jax.users.answering import AnswerPosterior, check_scales
from lore_jax.users.candidates import check_asked

_AT_A_TIME = 1 << 19  # numbers that a step of the integrals takes
_MOST_OUTCOMES = 120  # rankings of five


class AnswerQuestions(NamedTuple):
    """What to ask each user for, the first question first; made by `ask_answers`.

    Attributes:
        items: rows of the responses, int32 `[users, count, items]`; -1 where no candidate was left.
        index: which of the candidates it is, int32 `[users, count]`; -1 where none was left.
        information: mutual information of the answer and the user's weights, in nats.
        probability: of every outcome, in the order of `AnswerProbabilities`.
    """

    items: Int[np.ndarray, "users count items"]
    index: Int[np.ndarray, "users count"]
    information: Float[np.ndarray, "users count"]
    probability: Float[np.ndarray, "users count outcomes"]


def ask_answers(
    model: Model,
    answers: AnswerModel,
    posterior: AnswerPosterior,
    embeddings: Float[Array | np.ndarray, "responses dim"],
    kind: Kind,
    candidates: ArrayLike,
    *,
    count: int = 1,
    asked: ArrayLike | None = None,
) -> AnswerQuestions:
    """The answers of one kind that would tell most of each user's weights.

    `H(E p) - E H(p)`, p the probabilities of all outcomes given the weights, which are taken as one
    Gaussian. Several are chosen one after the other, each with the covariance that is expected
    after those before it, and never one twice.

    Args:
        model: a fitted model.
        answers: how people answer.
        posterior: of the users.
        embeddings: the table of responses.
        kind: what is asked for; of rankings at most 120 outcomes.
        candidates: rows of the table, `[c, items]`, or `[c]` for ratings.
        count: how many questions to each user.
        asked: candidates not to ask, bool `[c]` or `[users, c]`.

    Returns:
        The `AnswerQuestions`, on the host.

    Raises:
        ValueError: a candidate is outside the table or about another number of responses, there are
            fewer than `count`, the scale is unknown, or users have no spread.

    Example:
        >>> how = begin_answers(feedback)
        >>> known = adapt_answers(model, how, feedback)
        >>> three = np.arange(30).reshape(10, 3)
        >>> ranking = Kind("ranking", 3, places=2)
        >>> ask_answers(model, how, known, feedback.embeddings, ranking, three).items.shape
        (40, 1, 3)

    Reference:
        Houlsby et al. 2011, arXiv 1112.5745, equation 2.
    """
    rows = check_items(kind, candidates, embeddings.shape[0])
    check_scales(answers, [kind])
    users = posterior.users.num_users
    if not 1 <= count <= len(rows):
        got = f"count is {count}"
        raise ValueError(f"{got}: 1 to {len(rows)}, the number of candidates, is expected")
    if not np.any(np.asarray(model.prior.covariance)):
        raise ValueError("the model's users have no spread: no answer tells more than another")
    mask = check_asked(asked, users, len(rows))
    table = np.asarray(rewards(model, embeddings).table)
    features = jnp.asarray(margin_features(kind, table[rows]))
    parts = []
    size = chunk_size(kind, len(rows), users)
    for start in range(0, users, size):
        chunk = np.minimum(np.arange(start, start + size), users - 1)
        available = np.ones((size, len(rows)), bool)
        if mask is not None:
            available &= ~(mask if mask.ndim == 1 else mask[chunk])
        mean, covariance = with_intercepts(posterior, chunk)
        picks = ask_chunk(answers, kind, mean, covariance, features, available, count)
        parts.append(jax.device_get(picks))
    picks = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:users], *parts)
    return questions_of(rows, picks)


def questions_of(rows: Int[np.ndarray, "c items"], picks: AnswerPicks) -> AnswerQuestions:
    """Picks with users in front, and the rows that they are about."""
    index = np.asarray(picks.index)
    items = np.where(index[..., None] < 0, -1, rows[index])
    return AnswerQuestions(
        items, index, np.asarray(picks.information), np.asarray(picks.probability)
    )


def check_items(kind: Kind, candidates: ArrayLike, responses: int) -> Int[np.ndarray, "c items"]:
    """Candidates of one kind, `[c, items]`, if they are such.

    Raises:
        ValueError: they are not.
    """
    if kind.num_outcomes > _MOST_OUTCOMES:
        got = f"{kind} have {kind.num_outcomes:,} outcomes"
        raise ValueError(f"{got}: at most {_MOST_OUTCOMES} can be asked for")
    rows = np.asarray(candidates)
    rows = rows[:, None] if rows.ndim == 1 and kind.num_items == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != kind.num_items or not len(rows):
        expected = f"[c, {kind.num_items}], at least one, is expected of {kind}"
        raise ValueError(f"candidates has shape {rows.shape}: {expected}")
    if not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(
            f"candidates has dtype {rows.dtype}: integers, rows of the table, expected"
        )
    if rows.min() < 0 or rows.max() >= responses:
        bad = rows[(rows < 0) | (rows >= responses)][0]
        raise ValueError(f"candidates holds {bad}, outside a table of {responses} responses")
    ordered = np.sort(rows, axis=1)
    same = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    if len(same):
        raise ValueError(f"candidate {same[0]} names a response twice: {rows[same[0]].tolist()}")
    return rows.astype(np.int32)


def chunk_size(kind: Kind, candidates: int, users: int) -> int:
    """How many users are asked together."""
    numbers = candidates * kind.num_outcomes * max(1, kind.num_items - 1)
    each = numbers * nodes_at_once(kind, candidates)
    return max(1, min(1 << (users - 1).bit_length(), _AT_A_TIME // each))


def with_intercepts(
    posterior: AnswerPosterior, users: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n columns"], Float[np.ndarray, "n columns columns"]]:
    """Mean and covariance of some users' weights and, last, of their intercepts."""
    weights = np.asarray(posterior.users.weights)[users]
    rank = weights.shape[1]
    mean = np.concatenate([weights, np.asarray(posterior.intercept)[users, None]], axis=1)
    covariance = np.zeros((len(users), rank + 1, rank + 1), np.float32)
    covariance[:, :rank, :rank] = np.asarray(posterior.users.covariance)[users]
    covariance[:, rank, rank] = np.asarray(posterior.intercept_variance)[users]
    both = np.asarray(posterior.intercept_covariance)[users]
    covariance[:, rank, :rank] = covariance[:, :rank, rank] = both
    return mean, covariance


@functools.partial(jax.jit, static_argnames=("kind", "count"))
def ask_chunk(
    answers: AnswerModel,
    kind: Kind,
    mean: Float[Array | np.ndarray, "users columns"],
    covariance: Float[Array | np.ndarray, "users columns columns"],
    features: Float[Array, "c margins columns"],
    available: Bool[Array | np.ndarray, "users c"],
    count: int,
) -> AnswerPicks:
    """The picks of a chunk of users, `[users, count]`."""

    def one(mean: Array, covariance: Array, available: Array) -> AnswerPicks:
        return next_answers(answers, kind, mean, covariance, features, available, count=count)

    return jax.vmap(one)(*map(jnp.asarray, (mean, covariance, available)))
